// What a person should know: what fires, what was told, and who was told; silence and acknowledge.

import * as cells from "../cells.js";
import { silenceDialog } from "../dialogs.js";
import { el, mark, put } from "../dom.js";
import * as format from "../format.js";
import { say } from "../notices.js";
import { refresh } from "../refresh.js";
import { erase, get, may, post, Problem } from "../server.js";
import { table } from "../table.js";
import { code, t } from "../words.js";

const operates = () => may("operate");
const why = () => (operates() ? null : t("needs_scope", { scope: "operate" }));
const { plain } = cells;
const moment = (key, of) => ({
  key,
  head: t("time_in", { zone: format.zone() }),
  show: cells.moment(of),
});

function severity(cell, alert) {
  const badge = (cell.badge ??= cell.appendChild(el("span")));
  mark(badge, "class", `badge ${alert.severity}`);
  put(badge, code(alert.severity));
}

/** What alert it is, in three columns. */
const NAMED = () => [
  { key: "severity", head: t("alert.severity"), show: severity },
  plain("rule", t("alert.rule"), (alert) => code(alert.rule)),
  plain("subject", t("alert.subject"), (alert) => alert.subject),
];

function standing(alert) {
  const said = [
    alert.acknowledged_by && t("alert.seen_by", { actor: alert.acknowledged_by }),
    alert.silenced && t("alert.silenced"),
  ];
  return said.filter(Boolean).join(", ") || t("alert.unseen");
}

/** Show the alerts. */
export function page(root, { signal }) {
  const failed = el("p", { class: "problem", role: "alert" });
  const tell = (problem) => put(failed, problem ? t("problem", { why: problem.message }) : "");

  /** Do something about alerts, and show what came of it. */
  async function order(doing, said) {
    try {
      await doing();
      say(said);
      await now();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      say(error.status ? error.message : t("link.unreachable"));
    }
  }

  const acknowledge = (alert) =>
    order(
      () => post("/alerts/acknowledgements", { fingerprint: alert.fingerprint }),
      t("alert.acknowledged", { name: alert.summary }),
    );
  const end = (silence) =>
    order(() => erase(`/alerts/silences/${silence.silence_id}`), t("silence.ended"));

  const firing = table({
    caption: t("alerts.firing"),
    keyOf: (alert) => alert.alert_id,
    empty: t("alerts.none"),
    columns: [
      ...NAMED(),
      plain("summary", t("alert.summary"), (alert) => alert.summary),
      moment("since", (alert) => alert.since),
      plain("standing", t("state"), standing),
      {
        key: "acknowledge",
        head: t("alert.acknowledge"),
        show: cells.button({
          label: t("alert.acknowledge"),
          name: (alert) => alert.summary,
          act: acknowledge,
          allowed: (alert) => operates() && !alert.acknowledged_by,
          title: why,
        }),
      },
      {
        key: "silence",
        head: t("silence"),
        show: cells.button({
          label: t("silence.button"),
          name: (alert) => alert.summary,
          act: (alert) => silenceDialog(alert, now),
          allowed: operates,
          title: why,
        }),
      },
    ],
  });
  const silences = table({
    caption: t("silences"),
    keyOf: (silence) => silence.silence_id,
    empty: t("silences.none"),
    columns: [
      plain("rule", t("alert.rule"), (silence) => silence.rule),
      plain("subject", t("alert.subject"), (silence) => silence.subject),
      plain("severity", t("alert.severity"), (silence) => silence.severity),
      { key: "until", head: t("silence.until"), show: cells.moment((silence) => silence.until) },
      plain("actor", t("order.actor"), (silence) => silence.actor),
      plain("reason", t("order.reason"), (silence) => silence.reason),
      {
        key: "end",
        head: t("silence.end"),
        show: cells.button({
          label: t("silence.end"),
          name: (silence) => silence.reason,
          act: end,
          allowed: operates,
          title: why,
        }),
      },
    ],
  });
  const told = table({
    caption: t("alerts.told"),
    keyOf: (alert) => `${alert.fingerprint} ${alert.ts_event} ${alert.state}`,
    empty: t("alerts.never"),
    columns: [
      moment("time", (alert) => alert.ts_event),
      ...NAMED(),
      plain("state", t("state"), (alert) => code(alert.state)),
      plain("summary", t("alert.summary"), (alert) => alert.summary),
    ],
  });
  const deliveries = table({
    caption: t("deliveries"),
    keyOf: (delivery) => delivery.delivery_id,
    empty: t("deliveries.none"),
    columns: [
      moment("time", (delivery) => delivery.made_at),
      plain("target", t("delivery.target"), (delivery) => delivery.target),
      plain("title", t("delivery.title"), (delivery) => delivery.title),
      plain("state", t("state"), (delivery) => code(delivery.state)),
      {
        key: "attempts",
        head: t("delivery.attempts"),
        numeric: true,
        show: cells.text((delivery) => format.count(delivery.attempts)),
      },
      plain("error", t("delivery.error"), (delivery) => delivery.error),
    ],
  });
  const more = el(
    "button",
    { type: "button", onclick: () => silenceDialog({}, now), disabled: !operates(), title: why() },
    t("silence.button.new"),
  );
  const panel = (id, title, made, ...beside) =>
    el(
      "section",
      { class: "panel tall", "aria-labelledby": id },
      el("div", { class: "head" }, el("h2", { id }, title), ...beside),
      made.node,
    );
  root.append(
    el("h1", {}, t("page.alerts")),
    failed,
    panel("firing", t("alerts.firing"), firing),
    panel("silences", t("silences"), silences, more),
    el(
      "div",
      { class: "columns" },
      panel("told", t("alerts.told"), told),
      panel("deliveries", t("deliveries"), deliveries),
    ),
  );

  async function load() {
    const [fires, lasting] = await Promise.all([get("/alerts/firing"), get("/alerts/silences")]);
    if (signal.aborted) return;
    firing.update(fires.alerts);
    silences.update(lasting.silences);
  }

  async function loadPast() {
    const [past, sent] = await Promise.all([
      get("/alerts", { limit: 100 }),
      get("/alerts/deliveries", { limit: 100 }),
    ]);
    if (signal.aborted) return;
    told.update(past.alerts);
    deliveries.update(sent.deliveries);
  }

  const now = refresh(load, 2, signal, tell);
  refresh(loadPast, 5, signal, tell);
}
