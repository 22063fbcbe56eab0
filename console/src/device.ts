// What a browser calls itself, as people know it. Other programs are shown as they say.
const BROWSERS: [RegExp, string][] = [
  [/\bEdg(?:A|iOS)?\/(\d+)/, "Edge"],
  [/\bOPR\/(\d+)/, "Opera"],
  [/\b(?:Firefox|FxiOS)\/(\d+)/, "Firefox"],
  [/(?:Chrome|CriOS)\/(\d+)/, "Chrome"],
  [/\bVersion\/(\d+)\S* .*Safari\//, "Safari"],
];
const SYSTEMS: [RegExp, string][] = [
  [/Windows NT/, "Windows"],
  [/Android/, "Android"],
  [/iPhone|iPad/, "iOS"],
  [/Mac OS X/, "macOS"],
  [/Linux|X11/, "Linux"],
];

/** "Chrome 142 · Windows". */
export function deviceOf(client: string): string {
  for (const [form, name] of BROWSERS) {
    const [, version] = form.exec(client) ?? [];
    if (!version) continue;
    const [, system] = SYSTEMS.find(([mark]) => mark.test(client)) ?? [];
    return [`${name} ${version}`, system].filter(Boolean).join(" · ");
  }
  return client;
}
