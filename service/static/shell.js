// What every page has in its head: the theme, and the key where the service wants one.
import { KEY } from "./api.js";
import { byId } from "./dom.js";

function wireTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const show = () => (button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark");
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("nextday.theme", root.dataset.theme);
    } catch { /* a browser that keeps nothing */ }
    show();
    dispatchEvent(new Event("nextday.theme"));
  });
  show();
}

function wireKey() {
  const show = () => (byId("key-state").textContent = sessionStorage.getItem(KEY) ? "Key set" : "No key");
  show();
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key-field").value.trim();
    if (!key) return;
    sessionStorage.setItem(KEY, key);
    byId("key-field").value = "";
    location.reload();
  });
  byId("key-forget").addEventListener("click", () => {
    sessionStorage.removeItem(KEY);
    byId("key").open = false;
    show();
  });
}

wireTheme();
wireKey();
