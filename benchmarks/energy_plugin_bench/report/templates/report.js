"use strict";
(() => {
  // Sorting: a button in each head; numbers by value, empty cells last, whatever the direction.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = (cell.dataset.v ?? cell.textContent).trim();
    const number = Number.parseFloat(text);
    return { text, number: cell.classList.contains("n") ? number : NaN, empty: text === "" };
  };
  const compare = (a, b) => Number.isNaN(a.number) || Number.isNaN(b.number)
    ? a.text.localeCompare(b.text, "en", { numeric: true }) : a.number - b.number;
  const sort = (table, column, head) => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [valueOf(row, column), row]);
    rows.sort(([a], [b]) => a.empty - b.empty || (ascending ? compare(a, b) : compare(b, a)));
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, column, head));
      head.append(button);
    });
  }

  // Filtering: every word has to occur in what is seen of a figure; groups open while a filter is set, and close
  // again. Small print and names of sources hold words such as "energy" that are not what the figure is of.
  const input = document.getElementById("filter");
  const score = document.getElementById("score");
  const ticks = Array.from(document.querySelectorAll(".bar [data-status]"));
  const found = document.getElementById("found");
  const plain = (text) => text.trim().toLowerCase().replaceAll(" ", "_");
  const seen = (node) => node.cells === undefined ? [node.textContent]
    : Array.from(node.cells, (cell) => (cell.querySelector("summary") ?? cell).textContent);
  const items = Array.from(document.querySelectorAll("main [data-status], .pivot tbody tr"), (node) => {
    const section = node.closest("section");
    const reason = node.closest(".reason");
    const lacks = reason ? Array.from(reason.querySelectorAll("summary, .lacks"), (part) => part.textContent) : [];
    return {
      node, section, status: node.dataset.status, text: [...seen(node), ...lacks].join(" ").toLowerCase(),
      source: (node.dataset.source ?? section.id.replace(/^source-/, "")).toLowerCase(),
      id: (node.dataset.id ?? "").toLowerCase(), scores: node.dataset.score.split("\n").map(plain),
    };
  });
  const scores = new Set(Array.from(score.options, (option) => plain(option.value)));
  const holds = (item, word) => {
    const [, field, value] = /^(score|source|id):(.+)$/.exec(scores.has(word) ? `score:${word}` : word) ?? [];
    if (field === "score") return item.scores.includes(value);
    if (field !== undefined) return item[field].includes(value);
    return item.text.includes(word) || item.source === word || item.id === word;
  };
  const groups = Array.from(document.querySelectorAll(".skipped, .reason, .more"));
  const idle = document.querySelector(".idle");
  const lines = Array.from(document.querySelectorAll("[data-section]"));
  const sections = Array.from(document.querySelectorAll("section.source"));
  const figures = Array.from(document.querySelectorAll("main [data-status]")).length;
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (score.value !== "") words.push(`score:${plain(score.value)}`);
    const wanted = new Set(ticks.filter((tick) => tick.checked).map((tick) => tick.dataset.status));
    const all = words.length === 0 && wanted.size === ticks.length;
    const alive = new Set();
    let count = 0;
    for (const item of items) {
      const { node, section, status } = item;
      const shown = (status === undefined || wanted.has(status)) && words.every((word) => holds(item, word));
      node.hidden = !shown;
      if (!shown) continue;
      if (status !== undefined) count += 1;
      alive.add(section);
      for (let group = node.closest("details"); group; group = group.parentElement.closest("details")) alive.add(group);
    }
    for (const group of groups) {
      group.hidden = !alive.has(group);
      group.open = words.length > 0 && alive.has(group);
    }
    for (const section of sections) section.hidden = !alive.has(section);
    for (const row of lines) row.hidden = document.getElementById(row.dataset.section).hidden;
    for (const table of document.querySelectorAll("table.figures, table.counts")) {
      table.hidden = !Array.from(table.tBodies[0].rows).some((row) => !row.hidden);
    }
    document.documentElement.dataset.filtered = input.value;
    if (idle !== null) idle.hidden = idle.querySelector("table").hidden;
    if (idle !== null) idle.open = words.length > 0 || !idle.previousElementSibling.matches("table");
    found.value = all ? "" : `${count} of ${figures} figures`;
  };
  let waiting = 0;
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  });
  for (const part of [score, ...ticks]) part.addEventListener("change", filter);
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => {
      score.value = button.dataset.choose;
      filter();
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
