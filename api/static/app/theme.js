// Light or dark: as the system has it, until someone chooses.

const KEPT = "nextgen-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/** The theme that shows now. */
export const theme = () => localStorage.getItem(KEPT) ?? (system.matches ? "dark" : "light");

/** Put the theme on the page. */
export function applyTheme() {
  document.documentElement.dataset.theme = theme();
}

/** Change to the other one, and keep that. */
export function otherTheme() {
  localStorage.setItem(KEPT, theme() === "dark" ? "light" : "dark");
  applyTheme();
}

/** Hear of changes of the system's. */
export function onSystemTheme(told) {
  system.addEventListener("change", () => {
    applyTheme();
    told();
  });
}

/** A colour of the style sheet as the browser computes it now, for what draws by itself. */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
