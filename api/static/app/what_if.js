// What fusion and entry would have said without a leg, or by another threshold; the API weighs it.

import { el, put } from "./dom.js";
import * as format from "./format.js";
import { get, Problem } from "./server.js";
import { code, t } from "./words.js";

const LEGS = ["forecast", "policy", "sentiment"];
const PAUSE = 150; // ms after the last movement

/** Make the form for a signal; `settings` are null where the store does not keep them. */
export function whatIf(given, settings) {
  const title = el("h3", {}, t("what_if"));
  if (!settings) return el("div", {}, title, el("p", { class: "empty" }, t("what_if.none")));
  const drops = LEGS.map((name) =>
    el("input", { type: "checkbox", name: "drop", value: name, disabled: given.legs[name]?.abstains }),
  );
  const entry = slider("entry_score", settings.entry_score);
  const least = slider("minimum_confidence", settings.minimum_confidence);
  const answer = el("output", { class: "answer", "aria-live": "polite" }, t("what_if.as_given"));
  let timer = 0;
  let asked = 0;

  async function ask() {
    const mine = ++asked;
    const dropped = drops.filter((each) => each.checked).map((each) => each.value);
    try {
      const said = await get(`/signals/${given.signal_id}/what-if`, {
        drop: dropped,
        entry_score: entry.asked(),
        minimum_confidence: least.asked(),
      });
      if (mine !== asked) return;
      put(
        answer,
        t(said.stands ? "what_if.stands" : "what_if.changes", {
          verdict: code(said.verdict),
          score: format.signed(said.score, 3),
          confidence: format.percent(said.confidence, 1),
        }),
      );
      answer.classList.toggle("changed", !said.stands);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (mine === asked) put(answer, error.message);
    }
  }

  const soon = () => {
    entry.show();
    least.show();
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  };
  const form = el(
    "form",
    {
      class: "what-if",
      oninput: soon,
      onsubmit: (event) => event.preventDefault(),
      onreset: () => setTimeout(soon),
    },
    el(
      "fieldset",
      { class: "filters" },
      el("legend", {}, t("what_if.drop")),
      LEGS.map((name, index) => el("label", { class: "check" }, drops[index], t(`leg.${name}`))),
    ),
    entry.node,
    least.node,
    el("div", { class: "choices" }, el("button", { type: "reset" }, t("what_if.reset"))),
    answer,
    el("p", { class: "quiet" }, t("what_if.about")),
  );
  return el("div", {}, title, form);
}

function slider(name, value) {
  const input = el("input", { type: "range", name, id: name, min: 0, max: 1, step: 0.01, value });
  const said = el("output", { for: name }, format.number(value));
  return {
    // A configured value between two steps of the slider stays what it is until it is moved.
    asked: () => (input.value === input.defaultValue ? null : input.value),
    show: () => put(said, format.number(Number(input.value))),
    node: el("div", { class: "slider" }, el("label", { for: name }, t(name)), input, said),
  };
}
