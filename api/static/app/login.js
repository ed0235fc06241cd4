// The form that stands in the place of everything while the API does not know who asks.

import { el, put } from "./dom.js";
import { login, Problem } from "./server.js";
import { t } from "./words.js";

/** Show the form in `place`; `done` is called once a session has begun. */
export function loginForm(place, done) {
  const key = el("input", {
    id: "key",
    name: "key",
    type: "password",
    required: true,
    maxlength: 200,
    autocomplete: "current-password",
    "aria-describedby": "key-about",
  });
  const failed = el("p", { class: "problem", role: "alert" });
  const form = el(
    "form",
    { class: "login panel" },
    el("h1", { tabindex: -1 }, t("login.title")),
    el("p", { id: "key-about" }, t("login.about")),
    el("label", { for: "key" }, t("login.key")),
    key,
    failed,
    el("button", { type: "submit", class: "primary" }, t("login.do")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await login(key.value.trim());
      done();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      put(failed, error.status === 401 ? t("login.wrong") : error.message || t("link.unreachable"));
    }
    key.value = "";
  });
  place.replaceChildren(form);
  key.focus();
}
