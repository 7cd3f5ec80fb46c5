// Ctrl-Z, Ctrl-Y and Ctrl-Shift-Z undo and redo; N and P go through the list of a study. But where something is typed.

const TYPED = "input, textarea, select, [contenteditable]";

function named(event, key) {
  if (!event.ctrlKey && !event.metaKey) return { n: "later-picture", p: "earlier-picture" }[key];
  if (key === "y" || (key === "z" && event.shiftKey)) return "redo";
  return key === "z" ? "undo" : undefined;
}

export default function () {
  function pressed(event) {
    const origin = event.composedPath()[0];
    if (event.altKey || origin?.matches?.(TYPED)) return;
    const name = named(event, event.key.toLowerCase());
    const button = name && document.querySelector(`.st-key-${name} button`);
    if (!button) return;
    event.preventDefault();
    if (!button.disabled) button.click();
  }
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}
