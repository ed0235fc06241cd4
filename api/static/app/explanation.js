// Why a signal was given, of stored values alone, and what would have been otherwise.

import * as cells from "./cells.js";
import { el, put } from "./dom.js";
import * as format from "./format.js";
import { headlineList } from "./news.js";
import { get, Problem } from "./server.js";
import { table } from "./table.js";
import { whatIf } from "./what_if.js";
import { code, t } from "./words.js";

const LEGS = ["forecast", "policy", "sentiment"];

const LEG_COLUMNS = () => [
  { key: "leg", head: t("leg"), show: cells.text((leg) => t(`leg.${leg.name}`)) },
  { key: "value", head: t("leg.said"), numeric: true, show: (cell, leg) => cells.leg(cell, leg) },
  {
    key: "certainty",
    head: t("leg.certainty"),
    numeric: true,
    show: cells.text((leg) => format.percent(leg.certainty, 0)),
  },
  { key: "skill", head: t("leg.skill"), numeric: true, show: cells.text((leg) => format.number(leg.skill)) },
  {
    key: "weight",
    head: t("leg.share"),
    numeric: true,
    show: cells.text((leg) => format.percent(leg.weight, 0)),
  },
  {
    key: "gives",
    head: t("leg.gives"),
    numeric: true,
    title: t("leg.gives.about"),
    show: cells.movement((leg) => (leg.abstains ? null : leg.weight * leg.value)),
  },
];

const RISK_COLUMNS = () => [
  { key: "step", head: t("risk.step"), show: cells.text((step) => code(step.step)) },
  {
    key: "after",
    head: t("risk.after"),
    numeric: true,
    show: cells.text((step) =>
      step.step === "entry" ? format.signed(step.after, 0) : format.percent(step.after, 2, "exceptZero"),
    ),
  },
  {
    key: "why",
    head: t("why"),
    show: (cell, step, row) => {
      put(cell, step.why);
      row.classList.toggle("idle", step.before === step.after);
    },
  },
];

/** Make the panel. Returns {node, load(id), shown}: `shown` is the signal's id. */
export function explanation(signal) {
  const title = el("h2", { id: "why" }, t("why.title"));
  const body = el("div", { class: "why" }, el("p", { class: "empty" }, t("why.none")));
  const node = el("section", { class: "panel", "aria-labelledby": "why" }, title, body);
  const told = { node, load, shown: null };

  async function load(id) {
    told.shown = id;
    let found;
    try {
      found = await get(`/signals/${encodeURIComponent(id)}/explanation`);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      body.replaceChildren(
        el("p", { class: "problem", role: "alert" }, t("problem", { why: error.message })),
      );
      return;
    }
    if (!signal.aborted) show(found);
  }

  function show({ signal: given, headlines, outcome, settings }) {
    const decided = cells.figures(t("why.title"));
    decided.update([
      { name: t("action"), value: t(`action.${given.action}`) },
      { name: t("score"), value: format.signed(given.score, 3), signed: true },
      { name: t("confidence"), value: format.percent(given.confidence, 1) },
      { name: t("disagreement"), value: format.number(given.disagreement) },
      { name: t("target"), value: format.percent(given.target_position, 2, "exceptZero") },
      { name: t("approved"), value: t(given.approved ? "yes" : "no") },
      { name: t("costs"), value: format.number(given.costs.paid) },
      { name: t("outcome"), value: outcome ? outcomeOf(outcome) : t("outcome.open"), signed: true },
    ]);
    const legs = table({ caption: t("legs"), columns: LEG_COLUMNS(), keyOf: (leg) => leg.name });
    legs.update(LEGS.filter((name) => given.legs[name]).map((name) => ({ name, ...given.legs[name] })));
    const steps = table({ caption: t("risk.steps"), columns: RISK_COLUMNS(), keyOf: (step) => step.step });
    steps.update(given.risk);
    const news = headlineList();
    news.show(headlines.slice(0, 8));
    body.replaceChildren(
      el(
        "p",
        {},
        t("why.when", { symbol: given.symbol, time: format.stamp(given.ts_close) }),
        given.reasons.length ? ` ${given.reasons.map(code).join(", ")}.` : "",
      ),
      decided.node,
      el("h3", {}, t("legs")),
      legs.node,
      whatIf(given, settings),
      el("h3", {}, t("risk.steps")),
      steps.node,
      el("details", {}, el("summary", {}, t("news.known")), news.node),
      el("details", {}, el("summary", {}, t("why.identity")), identity(given)),
    );
  }

  return told;
}

function outcomeOf(outcome) {
  const hit = outcome.hit === null ? "" : ` · ${t(outcome.hit ? "outcome.hit" : "outcome.missed")}`;
  return `${format.percent(outcome.realised_return, 3, "exceptZero")}${hit}`;
}

function identity(given) {
  const list = el("dl", { class: "identity" });
  for (const [name, value] of [
    [t("signal"), given.signal_id],
    [t("configuration"), given.config_hash],
    [t("models"), given.models.join(" ")],
  ])
    list.append(el("dt", {}, name), el("dd", {}, value));
  return list;
}
