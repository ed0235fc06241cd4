// The headlines and moods that the engine knew. All of it is untrusted text.

import { el, keyed, put } from "./dom.js";
import * as format from "./format.js";
import { t } from "./words.js";

const SHOWN = 25;

const keyOf = (each) => `${each.ts_known} ${each.source} ${each.text}`;

/** How positive a headline is less how negative, as sentiment weighs it. */
const tone = (each) =>
  each.positive === null || each.positive === undefined ? null : each.positive - each.negative;

function item(each) {
  const said = each.kind === "mood" ? t("news.mood", { value: format.number(each.value, 0) }) : each.text;
  const value = tone(each);
  return el(
    "li",
    {},
    el("span", { class: `tone ${format.way(value)}` }, value === null ? "" : format.signed(value)),
    el(
      "div",
      {},
      el("p", { lang: each.language }, said),
      el("p", { class: "quiet" }, `${each.source} · ${format.stamp(each.ts_known)}`),
    ),
  );
}

/** A list of headlines. Returns {node, show(headlines)}. */
export function headlineList() {
  const list = el("ul", { class: "news" });
  const none = el("p", { class: "empty" }, t("news.none"));
  return {
    node: el("div", {}, list, none),
    show(headlines) {
      keyed(list, headlines.slice(0, SHOWN), keyOf, item);
      none.hidden = headlines.length > 0;
    },
  };
}

/** The news on a symbol. Returns {node, load(headlines), add(headlines)}. */
export function news(symbol) {
  const known = new Map();
  const list = headlineList();
  const about = el("p", { class: "quiet" });
  const node = el(
    "section",
    { class: "panel", "aria-labelledby": "news" },
    el("h2", { id: "news" }, t("news")),
    about,
    list.node,
  );

  function add(headlines) {
    for (const each of headlines) {
      if (!each.symbols.length || each.symbols.includes(symbol)) known.set(keyOf(each), each);
    }
    const all = [...known.values()].sort((one, other) => other.ts_known - one.ts_known);
    put(about, t("news.about"));
    list.show(all);
  }

  return { node, load: add, add };
}
