// Where in the console one is, as the browser's address has it: /PAGE or /cameras/ID, what the page was asked for, the
// language. A reload, a bookmark, "back" and an address that is handed on lead to the same place.
import { computed, ref, shallowReactive, type Ref } from "vue";

import { i18n } from "./i18n";
import { isPage, type Page } from "./pages";

/** What an entry of the browser's history remembers beside its address. */
interface Kept {
  /** Who was here: the next who logs in is led to nothing of theirs by "back". */
  by?: string;
  /** Of a camera's page: the page below it, with what it was asked for, as in "live?q=dm1". */
  under?: string;
  /** Of a camera's page: that "back" leads to the page below it. */
  isOver?: boolean;
}

const CAMERA = /^\/cameras\/([0-9]{20})$/;
/** Of an address that was made elsewhere no more is taken. */
const MOST_CHARACTERS = 400;

/** `page` may be a word that is no page, and is empty while nobody is logged in and no page is asked for. */
export const here = shallowReactive({ page: "", camera: undefined as string | undefined });
export const page = computed(() => (isPage(here.page) ? here.page : undefined));

let by = "";
/** Where the person begins. */
let home = "";

function kept(): Kept {
  return (history.state ?? {}) as Kept;
}

function read(): void {
  const [, camera] = CAMERA.exec(location.pathname) ?? [];
  const word = location.pathname.replaceAll(/^\/|\/$/g, "");
  here.camera = camera;
  // An address of a wall says no more than that.
  here.page = (camera ? kept().under?.split("?")[0] : word || (query("wall") && "live")) || home;
}

/** `/PAGE` with the language, where it is not the usual one. */
export function addressOf(path: string, words = new URLSearchParams()): string {
  if (i18n.global.locale.value === "en") words.set("lang", "en");
  else words.delete("lang");
  // Commas and colons may stand in a query as they are.
  const text = words.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `/${path}${text && `?${text}`}`;
}

function push(url: string, state: Kept = {}): void {
  history.pushState({ by, ...state } satisfies Kept, "", url);
  read();
}

function replace(url: string, state: Kept = {}): void {
  history.replaceState({ by, ...state } satisfies Kept, "", url);
  read();
}

/** Leads to a page; "back" leads here again. */
export function go(to: Page): void {
  if (here.page !== to || here.camera) push(addressOf(to));
}

/** Opens a camera's own page over the present one. */
export function openCamera(id: string): void {
  const { under = here.page + location.search, isOver = true } = here.camera ? kept() : {};
  const open = here.camera ? replace : push;
  open(addressOf(`cameras/${id}`), { under, isOver });
}

export function closeCamera(): void {
  if (kept().isOver) history.back();
  else replace(addressOf(here.page));
}

/** What the present page was asked for; of a camera's page, the page below it. */
function asked(): URLSearchParams {
  const [, below = ""] = (here.camera && kept().under?.split("?")) || [];
  return new URLSearchParams(here.camera ? below : location.search);
}

/** The same under this name. */
export function query(name: string): string {
  return (asked().get(name) ?? "").slice(0, MOST_CHARACTERS);
}

/** Writes what the present page is asked for into its address; empty words are left out. */
export function setQuery(values: Record<string, string>): void {
  // The address is the camera's, not that of the page below.
  if (here.camera) return;
  const words = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) words.set(name, value);
    else words.delete(name);
  }
  history.replaceState(history.state, "", addressOf(location.pathname.slice(1), words));
}

/** The address in the language that is shown now. */
export function tellLanguage(): void {
  const words = new URLSearchParams(location.search);
  history.replaceState(history.state, "", addressOf(location.pathname.slice(1), words));
}

type Field = string | number | boolean;

/**
 * What a page is searched by, begun with what its address asks for. `blank`: what it is without. `keep` writes what
 * differs from that into the address.
 */
export function useSearch<Search extends Record<keyof Search, Field>>(blank: () => Search) {
  const usual = blank();
  const words = asked();
  const begun = Object.entries<Field>(usual).map(([name, value]) => [name, words.has(name) ? fieldOf(query(name), value) : value]);
  const search = ref(Object.fromEntries(begun) as Search) as Ref<Search>;
  function keep(): void {
    const differs = (name: string, value: Field) => value !== usual[name as keyof Search];
    const told = Object.entries<Field>(search.value).map(([name, value]) => [name, differs(name, value) ? String(value) : ""]);
    setQuery(Object.fromEntries(told) as Record<string, string>);
  }
  return { search, keep };
}

/** As the field it stands for has it; what does not fit is left as it was. */
function fieldOf(word: string, usual: Field): Field {
  if (typeof usual === "string") return word;
  if (typeof usual === "boolean") return word === "true";
  return word && Number.isInteger(Number(word)) ? Number(word) : usual;
}

/** Somebody logged in: to where the address leads, but for one that another person left. */
export function arrive(username: string, first: Page): void {
  const { by: before, ...rest } = kept();
  by = username;
  home = first;
  if (before && before !== by) return replace(addressOf(home));
  read();
  const { pathname, search } = location;
  replace(pathname === "/" ? addressOf(here.page, new URLSearchParams(search)) : pathname + search, rest);
}

/** A login ended. `isWanted`: by the person; otherwise the page stays for when they are back, without what they searched. */
export function depart(isWanted: boolean): void {
  const state = kept();
  home = "";
  if (isWanted) replace(addressOf(""), { by: "" });
  else replace(addressOf(location.pathname.slice(1)), state);
}

addEventListener("popstate", () => {
  read();
  const before = kept().by;
  if (home && before && before !== by) replace(addressOf(isPage(here.page) ? here.page : home));
});
read();
