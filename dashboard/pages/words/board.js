// Every word under every measure: a table whose rows are measures, and beside it, row for row, the rank correlation of each
// measure with the others. It follows the patch under the pointer of any map or matrix of the page. All text is set
// through textContent.

const SHADE = 0.6; // text stays legible on it, on light and on dark

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".board");
  const board = (root.board ??= new Board(root));
  board.send = (event) => setTriggerValue("event", event);
  board.show(data);
}

class Board {
  constructor(root) {
    this.root = root;
    this.hovered = null;
    followPatch(root, (patch) => {
      this.hovered = patch;
      this.fill();
    }, () => this.data.grid);
  }

  show(data) {
    this.data = data;
    this.rows = data.measures.map((measure) => ({ ...measure, patches: floats(measure.patches) }));
    const signature = JSON.stringify([data.units, data.measures.map((m) => m.name), Boolean(data.agreement)]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.build();
    }
    this.fill();
    this.correlate();
  }

  build() {
    const { data } = this;
    const head = element("tr", {}, element("th", {}, this.place = element("span", { className: "place" })));
    this.words = data.units.map((unit, index) => {
      const button = element("button", { type: "button", className: unit.special ? "special" : "" }, unit.text);
      button.dataset.testid = "word";
      button.onclick = () => this.send({ type: "word", index });
      const cell = element("th", { scope: "col", className: unit.sign ? "term" : "" }, ...(unit.sign ? [element("i", {}, unit.sign)] : []), button);
      head.append(cell);
      return button;
    });
    this.cells = [];
    this.names = [];
    const lines = data.measures.map((measure, row) => {
      const name = element("button", { type: "button" }, `${row + 1} ${measure.title}`);
      const limit = element("small");
      name.dataset.testid = "measure";
      name.onclick = () => this.send({ type: "measure", name: measure.name });
      this.names.push([name, limit]);
      const note = element("td", { className: "note", colSpan: data.units.length });
      const cells = data.units.map((unit, index) => {
        const cell = element("td");
        cell.onclick = () => this.send({ type: "word", index });
        return cell;
      });
      const line = element("tr", {}, element("th", { scope: "row" }, name, limit), ...cells, note);
      this.cells.push({ cells, note });
      return line;
    });
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
    this.matrix = element("table", { className: "agreement" });
    const parts = [element("div", { className: "scroll", tabIndex: 0, role: "region" }, table)];
    parts[0].setAttribute("aria-label", "Words under every measure");
    if (data.agreement) parts.push(this.matrix);
    this.root.replaceChildren(...parts);
  }

  // What the rows say of the patch under the pointer, else of the chosen one, else of the whole image.
  fill() {
    const { data } = this;
    if (!data) return;
    const patch = this.hovered ?? data.patch;
    this.place.textContent = patch ? `row ${patch[0]}, column ${patch[1]}` : "whole image";
    this.words.forEach((button, index) => button.setAttribute("aria-pressed", String(index === data.chosen)));
    this.rows.forEach((row, at) => {
      const values = this.values(row, patch);
      const limit = patch ? row.patch_limit : row.image_limit;
      const [name, extent] = this.names[at];
      name.setAttribute("aria-pressed", String(row.name === data.measure));
      name.title = `${row.unit}; strongest shade ${number(limit)}. Shows its words against patches.`;
      extent.textContent = values ? `±${number(limit)}` : "";
      const says = values && values.some(Number.isFinite) ? "" : values ? "0/0: no word is relevant at all, so there are no shares" : row.note || "its maps were not asked for";
      this.cells[at].note.textContent = says;
      this.cells[at].note.hidden = !says;
      this.cells[at].cells.forEach((cell, index) => {
        cell.hidden = Boolean(says);
        if (!says) this.shade(cell, values[index], limit, index);
      });
    });
  }

  values(row, patch) {
    if (!patch) return row.image;
    if (!row.patches.length) return null;
    const count = this.data.units.length;
    const start = (patch[0] * this.data.grid[1] + patch[1]) * count;
    return [...row.patches.subarray(start, start + count)];
  }

  shade(cell, value, limit, index) {
    const known = value !== null && Number.isFinite(value);
    const { positive, negative } = this.data.colours;
    const share = known ? Math.min(1, Math.abs(value) / limit) : 0;
    cell.textContent = known ? brief(value, limit) : "–";
    cell.title = known ? `${this.data.units[index].text}: ${signed(value)}` : "no value";
    cell.style.backgroundColor = `rgba(${known && value < 0 ? negative : positive},${SHADE * share})`;
    cell.classList.toggle("chosen", index === this.data.chosen);
  }

  correlate() {
    const { agreement, measures, colours } = this.data;
    if (!agreement) return;
    const head = element("tr", {}, ...measures.map((_, column) => element("th", { scope: "col" }, String(column + 1))));
    const lines = measures.map((a, row) => element("tr", {}, ...measures.map((b, column) => {
      const rho = agreement.rho[row][column];
      const known = rho !== null && row !== column;
      const cell = element("td", { className: known && Math.abs(rho) >= agreement.critical ? "sure" : "" }, row === column ? "" : known ? rho.toFixed(2).replace("0.", ".").replace("-", "−") : "–");
      if (row !== column) cell.title = `${a.title} and ${b.title}: ${known ? `Spearman’s ρ ${rho.toFixed(2).replace("-", "−")}` : "no order to compare"} over ${agreement.items} words. ${agreement.note}`;
      cell.style.backgroundColor = known ? `rgba(${rho < 0 ? colours.negative : colours.positive},${SHADE * Math.abs(rho)})` : "";
      return cell;
    })));
    const caption = element("caption", { title: agreement.note }, `Spearman’s ρ of ${agreement.items} words`);
    this.matrix.replaceChildren(caption, element("thead", {}, head), element("tbody", {}, ...lines));
  }
}

// Two digits without the zero before the point, and 0 for what is nothing beside the largest.
function brief(value, limit) {
  if (Math.abs(value) < 0.005 * limit) return "0";
  if (Math.abs(value) < 0.00095) return value.toExponential(0).replaceAll("-", "−");
  const text = Math.abs(value) >= 0.995 ? Math.abs(value).toPrecision(2) : String(+Math.abs(value).toPrecision(2)).replace(/^0\./, ".");
  return (value < 0 ? "−" : "") + text;
}
