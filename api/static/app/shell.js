// What stands around every page: names, ways, how the link and the engine do, and the stop.

import { resumeDialog, stopDialog } from "./dialogs.js";
import { el, mark, put } from "./dom.js";
import * as format from "./format.js";
import { link } from "./link.js";
import { market } from "./market.js";
import { noticePlace, say } from "./notices.js";
import { address } from "./router.js";
import { logout, may, Problem, session } from "./server.js";
import { standing } from "./standing.js";
import { theme } from "./theme.js";
import { LANGUAGES, locale, t } from "./words.js";

const NAMES = ["", "portfolio", "models", "alerts", "system"];
const OWN = { en: "English", ja: "日本語" };
let heard = null; // critical alerts that fired when last heard of

/**
 * Put the shell on the page. Returns {main, here(name), bare(), wait(), end(), known}: `here` marks
 * the page shown, `bare` is for those who are not known yet, `end` stops listening.
 */
export function shell({ onLanguage, onTheme, onLogout }) {
  const ending = new AbortController();
  const { signal } = ending;
  const main = el("main", { id: "main", tabindex: -1 });
  const links = NAMES.map((name) => el("a", { href: address(name) }, t(`page.${name || "overview"}`)));
  const nav = el("nav", { "aria-label": t("pages") }, links);
  const unseen = el("span", { class: "unseen-alerts" });
  links[NAMES.indexOf("alerts")].append(unseen);
  const state = el("p", { class: "standing", role: "status", "aria-live": "polite" });
  const clock = el("p", { class: "clock" });
  const run = el("p", { class: "run" });
  const stop = el("button", { type: "button", class: "danger stop" });
  stop.addEventListener("click", () => (market.portfolio?.stopped ? resumeDialog() : stopDialog()));
  const stopped = el("p", { class: "stopped", role: "status", hidden: true });
  const other = Object.keys(LANGUAGES).find((name) => name !== locale());
  const tools = el(
    "div",
    { class: "tools" },
    el(
      "button",
      { type: "button", lang: other, id: "language", onclick: () => onLanguage(other) },
      OWN[other],
    ),
    el(
      "button",
      { type: "button", id: "theme", onclick: onTheme },
      t(theme() === "dark" ? "theme.light" : "theme.dark"),
    ),
    session.via === "session" &&
      el("button", { type: "button", id: "logout", onclick: leave }, t("logout", { name: session.name })),
  );
  const header = el(
    "header",
    {},
    el("div", { class: "bar" }, el("a", { class: "brand", href: address("") }, t("brand")), nav, tools),
    el("div", { class: "bar state" }, state, clock, run, stop),
    stopped,
  );
  const footer = el(
    "footer",
    {},
    noticePlace,
    el("p", {}, t("footer.paper")),
    el(
      "p",
      {},
      t("footer.charts"),
      " ",
      el("a", { href: "https://www.tradingview.com/", rel: "noreferrer" }, "TradingView Lightweight Charts™ © 2024 TradingView, Inc."),
    ),
  );
  document.body.replaceChildren(
    el("a", { class: "skip", href: "#main", onclick: skip }, t("skip")),
    header,
    main,
    footer,
  );

  function skip(event) {
    // the address is the pages'
    event.preventDefault();
    main.focus();
  }

  async function leave() {
    try {
      await logout();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
    session.csrf = null;
    onLogout();
  }

  function show() {
    const now = standing(link, market);
    mark(state, "class", `standing ${now.level}`);
    put(state, now.text);
    put(clock, market.lastClose ? t("last_close", { time: format.stamp(market.lastClose) }) : "");
    const profile = market.run?.profile ?? "";
    put(run, market.run?.simulated ? t("run.simulated", { profile }) : profile);
    const isStopped = Boolean(market.portfolio?.stopped);
    put(stop, t(isStopped ? "resume.button" : "stop.button"));
    mark(stop, "class", isStopped ? "stop" : "danger stop");
    stop.disabled = !may("operate") || !market.portfolio;
    mark(stop, "title", may("operate") ? null : t("needs_scope", { scope: "operate" }));
    if (stopped.hidden === isStopped) {
      put(stopped, isStopped ? t("stop.in_force") : "");
      stopped.hidden = !isStopped;
    }
    mark(document.body, "data-link", now.level);
    showAlerts(market.status?.alerts);
  }

  /** Count in the way to the alerts those that nobody has seen, and say it when a critical one begins. */
  function showAlerts(alerts) {
    if (!alerts) return;
    const count = Object.values(alerts.unseen).reduce((sum, n) => sum + n, 0);
    put(unseen, count ? format.count(count) : "");
    mark(unseen, "class", `unseen-alerts ${alerts.unseen.critical ? "critical" : ""}`);
    mark(unseen, "title", count ? t("alerts.unseen", { n: count }) : null);
    const critical = alerts.worst.filter((each) => each.severity === "critical" && !each.silenced);
    const begun = critical.find((each) => heard && !heard.has(each.alert_id));
    heard = new Set(critical.map((each) => each.alert_id));
    if (begun) say(t("alerts.begun", { summary: begun.summary }));
  }

  market.addEventListener("change", show, { signal });
  link.addEventListener("state", show, { signal });
  const timer = setInterval(show, 500); // data grow stale without an event
  signal.addEventListener("abort", () => clearInterval(timer));
  show();

  const told = {
    main,
    known: Boolean(session.via),
    here(name) {
      links.forEach((each, index) => mark(each, "aria-current", NAMES[index] === name ? "page" : null));
    },
    bare() {
      told.known = false;
      nav.hidden = true;
      header.querySelector(".state").hidden = true;
    },
    wait(why) {
      told.known = false;
      main.replaceChildren(el("h1", {}, t("brand")), el("p", { role: "status" }, why));
    },
    end: () => ending.abort(),
  };
  return told;
}
