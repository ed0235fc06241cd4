// One symbol: its bars with what was decided on them, the news, and why.

import * as cells from "../cells.js";
import { candles } from "../candles.js";
import { muteDialog } from "../dialogs.js";
import { el, mark, put } from "../dom.js";
import { explanation } from "../explanation.js";
import * as format from "../format.js";
import { link } from "../link.js";
import { market } from "../market.js";
import { news } from "../news.js";
import { refresh } from "../refresh.js";
import { address } from "../router.js";
import { get, may } from "../server.js";
import { table } from "../table.js";
import { code, t } from "../words.js";

const BARS = 600;
const SIGNALS = 300;
const LISTED = 60;

const COLUMNS = (symbol) => [
  {
    key: "time",
    head: t("time_in", { zone: format.zone() }),
    show: (cell, row) => {
      const to = (cell.link ??= cell.appendChild(el("a", {})));
      mark(to, "href", address("symbol", symbol, row.signal_id));
      put(to, format.time(row.ts_close));
      mark(to, "title", format.stamp(row.ts_close));
    },
  },
  { key: "action", head: t("action"), show: (cell, row) => cells.action(cell, row) },
  { key: "score", head: t("score"), numeric: true, show: cells.movement((row) => row.score) },
  {
    key: "confidence",
    head: t("confidence"),
    numeric: true,
    show: cells.text((row) => format.percent(row.confidence, 0)),
  },
  { key: "price", head: t("price"), numeric: true, show: cells.text((row) => format.price(row.price)) },
  {
    key: "target",
    head: t("target"),
    numeric: true,
    show: cells.text((row) => format.percent(row.target_position, 1, "exceptZero")),
  },
  { key: "approved", head: t("approved"), show: cells.text((row) => t(row.approved ? "yes" : "no")) },
  { key: "why", head: t("why"), show: cells.text((row) => row.reasons.map(code).join(", ")) },
];

/** Show a symbol; with a second parameter the explanation of that signal. */
export function page(root, { parameters, signal }) {
  const names = [...market.symbols.keys()].sort();
  const symbol = parameters[0] ?? names[0] ?? "";
  const head = el("h1", {}, symbol);
  if (!market.symbols.has(symbol)) {
    root.append(head, el("p", { role: "alert" }, t("symbol.unknown")));
    return;
  }
  let signals = [];
  const now = cells.figures(t("now"));
  const choice = el(
    "select",
    { id: "symbol", onchange: () => (location.hash = address("symbol", choice.value)) },
    names.map((name) => el("option", { value: name, selected: name === symbol }, name)),
  );
  const mute = el("button", {
    type: "button",
    onclick: () => muteDialog(symbol, market.symbols.get(symbol).muted),
  });
  const failed = el("p", { class: "problem", role: "alert" });
  const picture = candles(symbol, signal);
  const headlines = news(symbol);
  const only = el("input", { type: "checkbox", id: "only", onchange: () => list() });
  const listed = table({
    caption: t("signals.caption", { symbol }),
    columns: COLUMNS(symbol),
    keyOf: (row) => row.signal_id,
  });
  const why = explanation(signal);
  root.append(
    el(
      "div",
      { class: "head" },
      head,
      el("div", { class: "filters" }, el("label", { for: "symbol" }, t("symbol.other")), choice, mute),
    ),
    failed,
    now.node,
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        picture.node,
        el(
          "section",
          { class: "panel tall", "aria-labelledby": "signals" },
          el(
            "div",
            { class: "head" },
            el("h2", { id: "signals" }, t("signals")),
            el("label", { class: "check" }, only, t("only_acting")),
          ),
          listed.node,
        ),
      ),
      el("div", {}, why.node, headlines.node),
    ),
  );

  function list() {
    const rows = only.checked ? signals.filter((each) => each.action !== "HOLD") : signals;
    listed.update(rows.slice(0, LISTED));
  }

  function show() {
    const row = market.symbols.get(symbol);
    const said = row.signal;
    now.update([
      { name: t("price"), value: format.price(row.price) },
      {
        name: t("change"),
        value: format.percent(row.change, 2, "exceptZero"),
        signed: true,
        title: t("change.about"),
      },
      { name: t("action"), value: said ? t(`action.${said.action}`) : t("warming") },
      { name: t("score"), value: format.signed(said?.score), signed: true },
      { name: t("confidence"), value: format.percent(said?.confidence, 0) },
      ...["forecast", "policy", "sentiment"].map((name) => {
        const leg = said?.legs[name];
        const value = leg && !leg.abstains ? leg.value : null;
        return {
          name: t(`leg.${name}`),
          value: leg?.abstains ? t("abstains") : format.signed(value),
          signed: true,
        };
      }),
      { name: t("position"), value: format.percent(said?.target_position, 1, "exceptZero") },
      { name: t("quality"), value: row.quality ? code(row.quality) : format.NONE },
    ]);
    put(mute, t(row.muted ? "unmute.button" : "mute.button"));
    mute.disabled = !may("operate");
  }

  async function load() {
    const [bars, found, told] = await Promise.all([
      get(`/bars/${encodeURIComponent(symbol)}`, { limit: BARS }),
      get("/signals", { symbol, limit: SIGNALS }),
      get("/headlines", { limit: 200 }),
    ]);
    if (signal.aborted) return;
    signals = found.signals;
    picture.load(bars, signals);
    headlines.load(told.headlines);
    list();
    const wanted = parameters[1] ?? signals[0]?.signal_id;
    if (wanted && why.shown === null) why.load(wanted);
  }

  link.addEventListener(
    "frame",
    ({ detail: frame }) => {
      const bar = (frame.bars ?? []).find((each) => each.symbol === symbol);
      const said = (frame.signals ?? []).find((each) => each.symbol === symbol);
      if (said && said.signal_id !== signals[0]?.signal_id) signals = [said, ...signals].slice(0, SIGNALS);
      if (bar) picture.add({ ...bar, ts_close: frame.ts_close }, signals);
      if (frame.headlines?.length) headlines.add(frame.headlines);
      if (said) list();
    },
    { signal },
  );
  market.addEventListener("change", show, { signal });
  show();
  // Frames bring what is new; bars that were repaired, and skipped ones, come with this.
  refresh(load, 20, signal, (problem) => put(failed, problem ? t("problem", { why: problem.message }) : ""));
}
