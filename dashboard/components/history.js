// Ctrl-Z, Ctrl-Y and Ctrl-Shift-Z press the buttons of the page, but where something is typed.

const TYPED = "input, textarea, select, [contenteditable]";

export default function () {
  function pressed(event) {
    const origin = event.composedPath()[0];
    if (!(event.ctrlKey || event.metaKey) || event.altKey || origin?.matches?.(TYPED)) return;
    const key = event.key.toLowerCase();
    const name = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : null;
    const button = name && document.querySelector(`.st-key-${name} button`);
    if (!button) return;
    event.preventDefault();
    if (!button.disabled) button.click();
  }
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}
