// Orders are asked for in a dialog: what it does, why, and for a resume its word.

import { el, put } from "./dom.js";
import { post, Problem } from "./server.js";
import { say } from "./notices.js";
import { t } from "./words.js";

let serial = 0;

/**
 * Ask for an order and send it. `extra` is a list of {name, label, input} more fields; `body` makes
 * of the form's data what is sent beside the reason. `word` must be typed to go on.
 */
export function orderDialog({
  title,
  explanation,
  path,
  submit,
  danger = false,
  word = null,
  extra = [],
  body = () => ({}),
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
      const order = await post(path, told);
      say(t("order.sent", { kind: t(`order.kind.${order.kind}`) }));
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
