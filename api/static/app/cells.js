// Cells that come up often: how a leg, an action or a price movement shows.

import { el, mark, put, svg } from "./dom.js";
import * as format from "./format.js";
import { code, t } from "./words.js";

const ARROWS = { up: "▲", down: "▼", "": "" };

/** A column of text. */
export const text = (of) => (cell, row) => put(cell, of(row));

/** A whole column of text: what it is known by, its head, what it shows. */
export const plain = (key, head, of) => ({ key, head, show: text(of) });

/** A column of moments, ns; the whole of each shows when pointed at. */
export const moment = (of) => (cell, row) => {
  put(cell, format.time(of(row)));
  mark(cell, "title", format.stamp(of(row)));
};

/** A column of buttons: {label, name: what a row is called, act, allowed, title}. */
export const button = ({ label, name, act, allowed, title }) => (cell, row) => {
  cell.row = row;
  cell.button ??= cell.appendChild(el("button", { type: "button", onclick: () => act(cell.row) }, label));
  cell.button.disabled = !allowed(row);
  mark(cell.button, "aria-label", `${label}: ${name(row)}`);
  mark(cell.button, "title", title(row));
};

/** A column of signed values, coloured by their sign. */
export const movement =
  (of, form = format.signed) =>
  (cell, row) => {
    const said = form(of(row));
    mark(cell, "class", `numeric ${format.wayOf(said)}`);
    put(cell, said);
  };

/** A share that rose or fell, with an arrow beside its sign. */
export function change(cell, value) {
  const text = format.percent(value, 2, "exceptZero");
  const way = format.wayOf(text);
  mark(cell, "class", `numeric ${way}`);
  put(cell, `${ARROWS[way]} ${text}`.trim());
}

/** What a leg says; one that abstains says so. */
export function leg(cell, said) {
  if (!said || said.abstains) {
    mark(cell, "class", "numeric quiet");
    put(cell, format.NONE);
    mark(cell, "title", said ? t("abstains") : null);
    return;
  }
  const text = format.signed(said.value);
  mark(cell, "class", `numeric ${format.wayOf(text)}`);
  put(cell, text);
  mark(cell, "title", t("leg.weight", { weight: format.percent(said.weight, 0) }));
}

/** BUY, SELL or HOLD; words, a sign and a colour. */
export function action(cell, signal) {
  const badge = (cell.badge ??= cell.appendChild(el("span")));
  const name = signal?.action ?? "";
  mark(badge, "class", `badge ${name.toLowerCase()}`);
  put(badge, name ? t(`action.${name}`) : format.NONE);
}

/** The quality of a bar; anything but an observed one stands out. */
export function quality(cell, name) {
  mark(cell, "class", name === "gap" || name === "backfilled" ? "warn" : "quiet");
  put(cell, name ? code(name) : format.NONE);
}

const WIDE = 96;
const HIGH = 20;

/** A line of the last closes; the number beside it says the same to those who do not see it. */
export function sparkline(cell, closes) {
  const line = (cell.line ??= cell
    .appendChild(
      svg("svg", {
        class: "spark",
        viewBox: `0 0 ${WIDE} ${HIGH}`,
        width: WIDE,
        height: HIGH,
        "aria-hidden": "true",
      }),
    )
    .appendChild(svg("polyline")));
  const known = closes.filter((close) => close !== null);
  const low = Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const step = WIDE / Math.max(closes.length - 1, 1);
  const points = closes
    .map((close, index) =>
      close === null
        ? null
        : `${(index * step).toFixed(1)},${(HIGH - 2 - ((close - low) / span) * (HIGH - 4)).toFixed(1)}`,
    )
    .filter((point) => point !== null);
  mark(line, "points", points.join(" "));
  mark(line, "class", known.length > 1 ? format.way(known.at(-1) - known[0]) : "");
}

/** A share of something as a bar, beside its number. */
export function meter(cell, share, label) {
  const bar = (cell.bar ??= cell.appendChild(
    el("span", { class: "meter", "aria-hidden": "true" }, el("span")),
  ));
  bar.firstChild.style.width = `${Math.min(Math.max(share ?? 0, 0), 1) * 100}%`;
  mark(bar, "class", `meter ${share >= 0.9 ? "full" : ""}`);
  const said = (cell.said ??= cell.appendChild(el("span")));
  put(said, label);
}

/** Names and values, brought up to date in place: [{name, value, signed?, title?}]. */
export function figures(label) {
  const list = el("dl", { class: "figures", "aria-label": label });
  const known = new Map();
  const update = (items) => {
    for (const { name, value, signed = false, title = null } of items) {
      if (!known.has(name)) {
        const said = el("dd");
        known.set(name, said);
        list.append(el("div", {}, el("dt", {}, name), said));
      }
      const said = known.get(name);
      put(said, value);
      mark(said, "class", (signed && format.wayOf(value)) || null);
      mark(said, "title", title);
    }
  };
  return { node: list, update };
}
