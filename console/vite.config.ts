import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vitest/config";

// The built console travels in the Python package, and the hub serves it: one origin, hashed names, nothing inlined,
// so that the content security policy needs no exception.
export default defineConfig({
  plugins: [vue()],
  worker: { format: "es" },
  build: {
    outDir: "../python/vidhub/console",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The map's library, fetched with its page, is the largest.
    chunkSizeWarningLimit: 1200,
  },
  test: { environment: "happy-dom", include: ["tests/**/*.test.ts"] },
});
