// Loaded before the page is painted: the theme that was chosen, else that of the system.
"use strict";
window.ELB = {};
(function () {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("elboard-theme");
  } catch (error) {
    chosen = null; // storage may be forbidden for files; the choice then lasts as long as the page
  }

  function apply() {
    const dark = chosen ? chosen === "dark" : system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.dispatchEvent(new CustomEvent("elb-theme"));
  }

  ELB.toggleTheme = function () {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("elboard-theme", chosen);
    } catch (error) {
      // see above
    }
    apply();
  };

  system.addEventListener("change", apply);
  apply();
})();
