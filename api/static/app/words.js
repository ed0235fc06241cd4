// What the dashboard says, in the language that was chosen.

import { EN } from "./words_en.js";
import { JA } from "./words_ja.js";

export const LANGUAGES = { en: EN, ja: JA };
const KEPT = "nextgen-language";
let language = "en";

/** Take the language that was chosen before, or the browser's. */
export function chooseLanguage(wanted) {
  const kept = wanted ?? localStorage.getItem(KEPT) ?? navigator.language.slice(0, 2);
  language = kept in LANGUAGES ? kept : "en";
  if (wanted) localStorage.setItem(KEPT, language);
  document.documentElement.lang = language;
}

/** The language's code, also what Intl goes by. */
export const locale = () => language;

/** Say what `key` stands for; `{name}` is filled in from `values`. */
export function t(key, values = {}) {
  const said = LANGUAGES[language][key] ?? EN[key] ?? key;
  return said.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Say a code of the engine, such as `below_threshold`; an unknown one as it is. */
export function code(name) {
  if (!name) return "";
  const key = `code.${name}`;
  return key in EN ? t(key) : String(name).replaceAll("_", " ");
}
