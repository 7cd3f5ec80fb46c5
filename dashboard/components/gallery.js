// Thumbnails to choose one image from; a click reports its name.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gallery");
  if (root.childElementCount !== data.images.length) {
    root.replaceChildren(...data.images.map(() => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(document.createElement("img"));
      return button;
    }));
  }
  data.images.forEach(({ name, title, source }, index) => {
    const button = root.children[index];
    const image = button.firstElementChild;
    button.title = title;
    button.setAttribute("aria-pressed", String(name === data.chosen));
    image.alt = title;
    if (image.src !== source) image.src = source;
    button.onclick = () => setTriggerValue("chosen", name);
  });
}
