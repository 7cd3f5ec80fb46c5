// Pictures of a collection with their map and figures; a click or Enter reports the place in the grid.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".pictures");
  root.classList.toggle("wide", Boolean(data.wide));
  root.setAttribute("aria-label", data.label);
  root.replaceChildren(...data.pictures.map(({ source, title, note, chosen }, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    button.setAttribute("aria-pressed", String(Boolean(chosen)));
    const image = document.createElement("img");
    image.src = source;
    image.alt = title;
    const words = document.createElement("span");
    words.textContent = note;
    button.append(image, words);
    button.onclick = () => setTriggerValue("chosen", place);
    return button;
  }));
  root.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const place = [...root.children].indexOf(event.composedPath()[0]);
    if (step && place >= 0) root.children[place + step]?.focus();
  };
  parentElement.querySelector(".legend").replaceChildren(...data.legend.map(({ text, colour }) => {
    const item = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.background = colour;
    item.append(swatch, text);
    return item;
  }));
}
