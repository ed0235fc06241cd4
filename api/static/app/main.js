// The dashboard: find out who asks, then show the page that the address names, and keep it true.

import { link } from "./link.js";
import { loginForm } from "./login.js";
import { market } from "./market.js";
import { page as alerts } from "./pages/alerts.js";
import { page as models } from "./pages/models.js";
import { page as overview } from "./pages/overview.js";
import { page as portfolio } from "./pages/portfolio.js";
import { page as symbol } from "./pages/symbol.js";
import { page as system } from "./pages/system.js";
import { route } from "./router.js";
import { get, Problem, unknown, whoAmI } from "./server.js";
import { shell } from "./shell.js";
import { applyTheme, onSystemTheme, otherTheme } from "./theme.js";
import { chooseLanguage, t } from "./words.js";

const PAGES = { "": overview, symbol, portfolio, models, alerts, system };
const AGAIN = 2000; // ms
let leave = new AbortController();
let frame = null; // the shell's
let starting = false;

/** Show the page of the address; `focus` where a person has just changed it. */
function show(focus = false) {
  leave.abort();
  leave = new AbortController();
  const [name = "", ...parameters] = route();
  const page = PAGES[name] ?? overview;
  frame.here(name in PAGES ? name : "");
  frame.main.replaceChildren();
  page(frame.main, { parameters, signal: leave.signal });
  const head = frame.main.querySelector("h1");
  document.title = `${head.textContent} · ${t("brand")}`;
  if (focus) {
    head.tabIndex = -1;
    head.focus();
    scrollTo(0, 0);
  }
}

function build() {
  frame?.end();
  frame = shell({
    onLanguage: (wanted) => {
      chooseLanguage(wanted);
      build();
      show();
    },
    onTheme: () => {
      otherTheme();
      build();
      show();
    },
    onLogout: start,
  });
}

/** Begin, or begin again after a login. */
async function start() {
  if (starting) return;
  starting = true;
  build();
  try {
    await whoAmI();
    await market.load();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    leave.abort();
    if (error.status === 401) {
      link.stop();
      frame.bare();
      loginForm(frame.main, start);
    } else {
      frame.wait(error.status ? t("not_ready", { why: error.message }) : t("link.waiting"));
      setTimeout(start, AGAIN);
    }
    return;
  } finally {
    starting = false;
  }
  build(); // knows who asks
  link.start();
  show();
}

chooseLanguage();
applyTheme();
onSystemTheme(() => frame?.known && show());
addEventListener("hashchange", () => frame?.known && show(true));
// A session may have ended: any question finds out, and `unknown` tells.
link.addEventListener("closed", () => get("/run").catch(() => {}));
unknown.addEventListener("unknown", () => frame?.known && start());
start();
