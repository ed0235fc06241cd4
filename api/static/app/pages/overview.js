// The market at a glance: every symbol with its price, its legs and what was decided.

import * as cells from "../cells.js";
import { el, put } from "../dom.js";
import * as format from "../format.js";
import { market } from "../market.js";
import { address } from "../router.js";
import { table } from "../table.js";
import { code, t } from "../words.js";

/** A cell that leads to a symbol's page; says so where it is muted. */
function symbolCell(cell, row) {
  const link = (cell.link ??= cell.appendChild(el("a", { href: address("symbol", row.symbol) }, row.symbol)));
  const muted = (cell.muted ??= cell.appendChild(el("span", { class: "tag" })));
  put(link, row.symbol);
  put(muted, row.muted ? t("muted") : "");
}

const legColumn = (name) => ({
  key: name,
  head: t(`leg.${name}`),
  numeric: true,
  sort: (row) => row.signal?.legs[name]?.value,
  show: (cell, row) => cells.leg(cell, row.signal?.legs[name]),
});

const COLUMNS = () => [
  { key: "symbol", head: t("symbol"), sort: (row) => row.symbol, show: symbolCell },
  {
    key: "price",
    head: t("price"),
    numeric: true,
    sort: (row) => row.price,
    show: cells.text((row) => format.price(row.price)),
  },
  {
    key: "change",
    head: t("change"),
    numeric: true,
    title: t("change.about"),
    sort: (row) => row.change,
    show: (cell, row) => cells.change(cell, row.change),
  },
  { key: "trend", head: t("trend"), show: (cell, row) => cells.sparkline(cell, row.sparkline) },
  legColumn("forecast"),
  legColumn("policy"),
  legColumn("sentiment"),
  {
    key: "score",
    head: t("score"),
    numeric: true,
    sort: (row) => row.signal?.score,
    show: cells.movement((row) => row.signal?.score),
  },
  {
    key: "confidence",
    head: t("confidence"),
    numeric: true,
    sort: (row) => row.signal?.confidence,
    show: cells.text((row) => format.percent(row.signal?.confidence, 0)),
  },
  {
    key: "action",
    head: t("action"),
    sort: (row) => row.signal?.action,
    show: (cell, row) => cells.action(cell, row.signal),
  },
  {
    key: "target",
    head: t("target"),
    numeric: true,
    title: t("target.about"),
    sort: (row) => row.signal?.target_position,
    show: cells.movement(
      (row) => row.signal?.target_position,
      (value) => format.percent(value, 1, "exceptZero"),
    ),
  },
  {
    key: "why",
    head: t("why"),
    show: cells.text(
      (row) => (row.signal?.reasons ?? []).map(code).join(", ") || (row.signal ? "" : t("warming")),
    ),
  },
  {
    key: "quality",
    head: t("quality"),
    sort: (row) => row.quality,
    show: (cell, row) => cells.quality(cell, row.quality),
  },
];

/** Show the overview. */
export function page(root, { signal }) {
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false" });
  const only = el("input", { type: "checkbox", id: "only" });
  const summary = cells.figures(t("summary"));
  const rows = table({
    caption: t("overview.caption"),
    columns: COLUMNS(),
    keyOf: (row) => row.symbol,
    sorted: { key: "symbol", down: false },
    empty: t("overview.none"),
  });
  root.append(
    el(
      "div",
      { class: "head" },
      el("h1", {}, t("page.overview")),
      el(
        "div",
        { class: "filters" },
        el("label", { for: "filter" }, t("filter")),
        filter,
        el("label", { class: "check" }, only, t("only_acting")),
      ),
    ),
    summary.node,
    el("div", { class: "panel wide" }, rows.node),
  );

  function show() {
    const all = [...market.symbols.values()];
    const acting = all.filter((row) => row.signal && row.signal.action !== "HOLD");
    const named = (action) => all.filter((row) => row.signal?.action === action).length;
    const book = market.portfolio;
    summary.update([
      { name: t("symbols"), value: format.count(all.length) },
      { name: t("action.BUY"), value: format.count(named("BUY")) },
      { name: t("action.SELL"), value: format.count(named("SELL")) },
      { name: t("action.HOLD"), value: format.count(named("HOLD")) },
      { name: t("equity"), value: format.number(book?.equity, 0) },
      { name: t("drawdown"), value: format.percent(book?.drawdown, 2) },
      { name: t("gross"), value: format.percent(book?.gross, 1) },
      { name: t("net"), value: format.percent(book?.net, 1, "exceptZero") },
    ]);
    const wanted = filter.value.trim().toUpperCase();
    rows.update((only.checked ? acting : all).filter((row) => row.symbol.toUpperCase().includes(wanted)));
  }

  filter.addEventListener("input", show);
  only.addEventListener("change", show);
  market.addEventListener("change", show, { signal });
  show();
}
