
  // The filter of a list: by kind, and by words in its texts. Without scripts the whole list is shown.
  for (const form of document.querySelectorAll(".filter")) {
    const list = document.getElementById(form.dataset.of), box = form.querySelector("input"), buttons = form.querySelectorAll("button");
    const entries = [...list.querySelectorAll("[data-kind]")].map(entry => [entry, entry.textContent.toLowerCase()]);
    const show = () => {
      const kind = form.querySelector("[aria-pressed=true]").value, words = box.value.toLowerCase().split(/\s+/);
      for (const [entry, text] of entries)
        entry.hidden = kind !== "" && entry.dataset.kind !== kind || !words.every(word => text.includes(word));
      form.querySelector("output").value = entries.filter(([entry]) => !entry.hidden).length + " shown";
    };
    for (const button of buttons)
      button.addEventListener("click", () => {
        for (const other of buttons) other.setAttribute("aria-pressed", other === button);
        show();
      });
    box.addEventListener("input", show);
    form.hidden = false;
    show();
  }
