// The paper portfolio, its risk, and the orders that bound it.

import * as cells from "../cells.js";
import { correlations } from "../correlations.js";
import { curves } from "../curves.js";
import { el, put } from "../dom.js";
import * as format from "../format.js";
import { limits } from "../limits.js";
import { link } from "../link.js";
import { market } from "../market.js";
import { muteDialog } from "../dialogs.js";
import { orders } from "../orders.js";
import { refresh } from "../refresh.js";
import { address } from "../router.js";
import { get, may } from "../server.js";
import { table } from "../table.js";
import { code, t } from "../words.js";

const HOLDINGS = () => [
  {
    key: "symbol",
    head: t("symbol"),
    sort: (row) => row.symbol,
    show: (cell, row) =>
      (cell.link ??= cell.appendChild(el("a", { href: address("symbol", row.symbol) }, row.symbol))),
  },
  {
    key: "side",
    head: t("side"),
    sort: (row) => row.weight,
    show: cells.text((row) => t(row.weight < 0 ? "short" : "long")),
  },
  {
    key: "quantity",
    head: t("quantity"),
    numeric: true,
    show: cells.text((row) => format.signed(row.quantity, 5)),
  },
  { key: "price", head: t("price"), numeric: true, show: cells.text((row) => format.price(row.price)) },
  {
    key: "value",
    head: t("value"),
    numeric: true,
    sort: (row) => row.value,
    show: cells.movement(
      (row) => row.value,
      (value) => format.signed(value, 0),
    ),
  },
  {
    key: "weight",
    head: t("weight"),
    numeric: true,
    sort: (row) => Math.abs(row.weight),
    show: cells.movement(
      (row) => row.weight,
      (value) => format.percent(value, 2, "exceptZero"),
    ),
  },
];

const MUTED = () => [
  { key: "symbol", head: t("symbol"), show: cells.text((order) => order.symbol) },
  { key: "why", head: t("why"), show: cells.text((order) => `${order.actor}: ${order.reason}`) },
  {
    key: "do",
    head: t("change_it"),
    show: (cell, order) => {
      cell.button ??= cell.appendChild(
        el("button", { type: "button", onclick: () => muteDialog(order.symbol, true) }, t("unmute.button")),
      );
      cell.button.disabled = !may("operate");
    },
  },
];

const KUPIEC = () => [
  { key: "level", head: t("kupiec.level"), show: cells.text((row) => row.level) },
  {
    key: "seen",
    head: t("kupiec.exceptions"),
    numeric: true,
    show: cells.text((row) => format.count(row.exceptions)),
  },
  {
    key: "expected",
    head: t("kupiec.expected"),
    numeric: true,
    show: cells.text((row) => format.number(row.expected)),
  },
  { key: "n", head: "n", numeric: true, show: cells.text((row) => format.count(row.observations)) },
  { key: "p", head: "p", numeric: true, show: cells.text((row) => format.number(row.p_value, 3)) },
];

/** A part of the page with its heading. */
const part = (id, title, ...inside) =>
  el(
    "section",
    { class: `panel ${id === "correlation" ? "" : "tall"}`, "aria-labelledby": id },
    el("h2", { id }, title),
    inside,
  );

/** Show portfolio and risk. */
export function page(root, { signal }) {
  const failed = el("p", { class: "problem", role: "alert" });
  const none = el("p", { class: "empty", hidden: true }, t("portfolio.none"));
  const money = cells.figures(t("page.portfolio"));
  const state = el("p", { class: "about" });
  const curve = curves(signal);
  const held = table({
    caption: t("holdings"),
    columns: HOLDINGS(),
    keyOf: (row) => row.symbol,
    sorted: { key: "weight", down: true },
    empty: t("holdings.none"),
  });
  const bounds = limits();
  const muted = table({
    caption: t("muted.caption"),
    columns: MUTED(),
    keyOf: (order) => order.symbol,
    empty: t("muted.none"),
  });
  const tested = table({
    caption: t("kupiec"),
    columns: KUPIEC(),
    keyOf: (row) => row.level,
    empty: t("kupiec.none"),
  });
  const heat = correlations();
  const record = orders(signal);
  root.append(
    el("h1", {}, t("page.portfolio")),
    failed,
    none,
    money.node,
    state,
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        curve.node,
        part("holdings", t("holdings"), held.node),
        part("correlation", t("correlation"), heat.node),
      ),
      el(
        "div",
        {},
        part("limits", t("limits"), el("p", { class: "quiet" }, t("limits.about")), bounds.node),
        part("muted", t("muted.title"), muted.node),
        part("kupiec", t("kupiec"), el("p", { class: "quiet" }, t("kupiec.about")), tested.node),
        part("orders", t("orders"), record.node),
      ),
    ),
  );

  function show() {
    const book = market.portfolio;
    none.hidden = book !== null;
    if (!book) return;
    const start = curve.first()?.equity;
    const since = start ? book.equity / start - 1 : null;
    money.update([
      { name: t("equity"), value: format.number(book.equity, 2) },
      { name: t("return"), value: format.percent(since, 3, "exceptZero"), signed: true },
      { name: t("buy_and_hold"), value: format.number(book.buy_and_hold, 2) },
      { name: t("cash"), value: format.number(book.cash, 0) },
      { name: t("drawdown"), value: format.percent(book.drawdown, 3) },
      { name: t("var", { level: "95 %" }), value: format.percent(book.var_95, 3) },
      { name: t("var", { level: "99 %" }), value: format.percent(book.var_99, 3) },
      { name: t("gross"), value: format.percent(book.gross, 2) },
      { name: t("net"), value: format.percent(book.net, 2, "exceptZero"), signed: true },
      { name: t("costs"), value: format.number(book.costs, 2) },
      { name: t("trades"), value: format.count(book.trades) },
    ]);
  }

  const tell = (problem) => put(failed, problem ? t("problem", { why: problem.message }) : "");

  async function loadRisk() {
    if (!market.portfolio) return;
    const [risk, book] = await Promise.all([get("/risk"), get("/portfolio")]);
    bounds.show(risk.limits);
    muted.update(risk.muted);
    tested.update(Object.entries(risk.kupiec).map(([level, each]) => ({ level, ...each })));
    held.update(book.holdings);
    const parts = [
      t("rung", { rung: risk.drawdown_rung, multiplier: format.percent(risk.drawdown_multiplier, 0) }),
    ];
    if (risk.stop)
      parts.unshift(
        t("stop.by", {
          actor: risk.stop.actor,
          reason: risk.stop.reason,
          time: format.stamp(risk.stop.posted_at),
        }),
      );
    if (risk.fired.length) parts.push(t("fired", { names: risk.fired.map(code).join(", ") }));
    if (risk.volatile.length) parts.push(t("volatile", { names: risk.volatile.join(", ") }));
    put(state, parts.join(" · "));
  }

  async function loadCurve() {
    curve.load(await get("/portfolio/history", { points: 900 }));
    show();
  }

  link.addEventListener("frame", ({ detail: frame }) => frame.portfolio && curve.add(frame.portfolio), {
    signal,
  });
  market.addEventListener("change", show, { signal });
  show();
  refresh(loadRisk, 1, signal, tell);
  refresh(loadCurve, 60, signal, tell);
  refresh(async () => heat.show(await get("/risk/correlation")), 15, signal, tell);
}
