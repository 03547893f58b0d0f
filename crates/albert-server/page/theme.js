// Light or dark: as the system says, unless the user says otherwise; kept for the next visit where
// it can be.

import { el } from "./common.js";

const THEMES = ["system", "light", "dark"];
const NAME = "albert-theme";

export function themes() {
  const button = document.getElementById("theme");
  let now = "system";
  try {
    now = localStorage.getItem(NAME) ?? now;
  } catch { /* storage may be closed: then it is as the system says */ }
  if (!THEMES.includes(now)) now = "system";
  const apply = () => {
    document.documentElement.dataset.theme = now;
    button.replaceChildren(el("span", { class: "wordy" }, "Theme: "), now);
    button.setAttribute("aria-label", `Theme: ${now}`);
  };
  button.addEventListener("click", () => {
    now = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    try {
      localStorage.setItem(NAME, now);
    } catch { /* as above */ }
    apply();
  });
  apply();
}
