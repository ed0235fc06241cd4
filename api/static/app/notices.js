// Short notices for all: read out politely, shown for a while.

import { el, put } from "./dom.js";

const SHOWN = 8000; // ms
const place = el("p", { class: "notice", role: "status", "aria-live": "polite" });
let timer = 0;

export const noticePlace = place;

/** Say something. */
export function say(text) {
  put(place, text);
  clearTimeout(timer);
  timer = setTimeout(() => put(place, ""), SHOWN);
}
