// A click on a heading sorts its table by that column; a second click turns the order round.
for (const table of document.querySelectorAll("table.rows")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const sign = down ? -1 : 1;
      const order = (a, b) => {
        const [x, y] = [a.cells[column], b.cells[column]];
        if (!x.textContent || !y.textContent) {
          return !x.textContent - !y.textContent;
        }
        return x.dataset.v === undefined
          ? sign * x.textContent.localeCompare(y.textContent, "en", { numeric: true })
          : sign * (Number(x.dataset.v) - Number(y.dataset.v));
      };
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort(order));
    };
    head.tabIndex = 0;
    head.classList.add("sorts");
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
}
