// Whose record is open, over whatever page.
import { shallowRef } from "vue";

export const shownCamera = shallowRef<string>();
