// Orders and silences are asked for in a dialog: what it does, why, and for a resume its word.

import { el, put } from "./dom.js";
import * as format from "./format.js";
import { post, Problem } from "./server.js";
import { say } from "./notices.js";
import { t } from "./words.js";

let serial = 0;

const sent = (order) => t("order.sent", { kind: t(`order.kind.${order.kind}`) });

/**
 * Ask for an order and send it. `extra` is a list of {label, input} more fields; `body` makes of the
 * form what is sent beside the reason. `word` must be typed to go on. `said` tells what was answered.
 */
function orderDialog({
  title,
  explanation,
  path,
  submit,
  danger = false,
  word = null,
  extra = [],
  body = () => ({}),
  said = sent,
}) {
  const id = `order-${++serial}`;
  const reason = el("input", { name: "reason", required: true, maxlength: 500, autocomplete: "off" });
  const typed = word
    ? el("input", {
        name: "confirm",
        required: true,
        pattern: word,
        autocomplete: "off",
        autocapitalize: "none",
      })
    : null;
  const failed = el("p", { class: "problem", role: "alert" });
  const send = el("button", { type: "submit", class: danger ? "danger" : "primary" }, submit);
  const form = el(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        order();
      },
    },
    el("h2", { id: `${id}-title` }, title),
    el("p", { id: `${id}-about` }, explanation),
    extra.map(({ label, input }) => el("label", {}, label, input)),
    el("label", {}, t("order.reason"), reason),
    typed && el("label", {}, t("order.type_word", { word }), typed),
    failed,
    el(
      "div",
      { class: "choices" },
      el("button", { type: "button", onclick: () => dialog.close() }, t("cancel")),
      send,
    ),
  );
  const dialog = el(
    "dialog",
    { "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-about`, onclose: () => dialog.remove() },
    form,
  );

  async function order() {
    send.disabled = true;
    put(failed, "");
    try {
      const told = { reason: reason.value.trim(), ...body(form) };
      if (word) told.confirm = typed.value;
      say(said(await post(path, told)));
      dialog.close();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      put(failed, error.status ? error.message : t("link.unreachable"));
      send.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  (extra[0]?.input ?? reason).focus();
}

export const stopDialog = () =>
  orderDialog({
    title: t("stop.title"),
    explanation: t("stop.about"),
    path: "/control/stop",
    submit: t("stop.do"),
    danger: true,
  });

export const resumeDialog = () =>
  orderDialog({
    title: t("resume.title"),
    explanation: t("resume.about"),
    path: "/control/resume",
    submit: t("resume.do"),
    word: "resume",
  });

export const muteDialog = (symbol, muted) =>
  orderDialog({
    title: t(muted ? "unmute.title" : "mute.title", { symbol }),
    explanation: t(muted ? "unmute.about" : "mute.about"),
    path: muted ? "/control/unmute" : "/control/mute",
    submit: t(muted ? "unmute.do" : "mute.do"),
    body: () => ({ symbol }),
  });

export function limitDialog(limit, name) {
  const input = el("input", {
    name: "value",
    type: "number",
    min: 0,
    max: limit.most,
    step: "any",
    value: limit.value,
  });
  orderDialog({
    title: t("limit.title", { name }),
    explanation: t("limit.about", { most: limit.most }),
    path: "/control/limits",
    submit: t("limit.do"),
    extra: [{ label: t("limit.value"), input }],
    body: () => ({ limit: limit.name, value: input.value === "" ? null : Number(input.value) }),
  });
}

const DURATIONS = [
  [15, "minute", 900],
  [1, "hour", 3600],
  [4, "hour", 14_400],
  [1, "day", 86_400],
  [7, "day", 604_800],
];

/** Silence alerts of `rule` and `subject`; `done` is called once they are. */
export function silenceDialog({ rule = "*", subject = "*" }, done) {
  const field = (name, value) =>
    el("input", { name, value, required: true, maxlength: 64, autocomplete: "off", autocapitalize: "none" });
  const fields = { rule: field("rule", rule), subject: field("subject", subject) };
  const lasts = el(
    "select",
    { name: "seconds" },
    DURATIONS.map(([n, unit, value]) =>
      el("option", { value, selected: value === 3600 }, format.lasting(n, unit)),
    ),
  );
  orderDialog({
    title: t("silence.title"),
    explanation: t("silence.about"),
    path: "/alerts/silences",
    submit: t("silence.do"),
    extra: [
      { label: t("alert.rule"), input: fields.rule },
      { label: t("alert.subject"), input: fields.subject },
      { label: t("silence.lasts"), input: lasts },
    ],
    body: () => ({
      rule: fields.rule.value.trim(),
      subject: fields.subject.value.trim(),
      seconds: Number(lasts.value),
    }),
    said: (made) => {
      done();
      return t("silence.made", { time: format.time(made.until) });
    },
  });
}
