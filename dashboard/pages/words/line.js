// A caption whose words are shaded by their relevance; a click on a word reports its position. All text is set through
// textContent.

const OPACITY = 0.6; // text stays legible on it, on light and on dark

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".words");
  const line = root.querySelector(".line");
  if (line.childElementCount !== data.units.length) {
    line.replaceChildren(...data.units.map(() => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(document.createElement("span"), document.createElement("small"));
      return button;
    }));
  }
  line.setAttribute("aria-label", data.label);
  data.units.forEach((unit, index) => show(line.children[index], unit, index, data, setTriggerValue));
  root.querySelector(".tail").textContent = data.tail;
  const { positive, negative } = data.colours;
  root.querySelector(".strip").style.background =
    `linear-gradient(90deg, rgba(${negative},${OPACITY}), transparent, rgba(${positive},${OPACITY}))`;
  const ends = root.querySelectorAll(".end");
  ends[0].textContent = signed(-data.limit, 2);
  ends[1].textContent = signed(data.limit, 2);
  root.querySelector(".unit").textContent = data.unit;
}

function show(button, { text, value, special }, index, data, setTriggerValue) {
  const [word, number] = button.children;
  const known = value !== null;
  const hue = known && value < 0 ? data.colours.negative : data.colours.positive;
  const share = known ? Math.min(1, Math.abs(value) / data.limit) : 0;
  word.textContent = text;
  number.textContent = known ? signed(value, 3) : "–";
  button.className = special ? "special" : "";
  button.style.backgroundColor = `rgba(${hue},${OPACITY * share})`;
  button.disabled = !known;
  button.title = known ? `Show the map of “${text}”` : "This measure has no value for it";
  button.dataset.testid = "word";
  button.setAttribute("aria-pressed", String(index === data.chosen));
  button.onclick = () => setTriggerValue("chosen", index);
}

function signed(value, digits) {
  const text = Math.abs(value).toPrecision(digits > 2 && Math.abs(value) < 0.1 ? 2 : digits);
  return (value < 0 ? "−" : "+") + Number(text).toString();
}
