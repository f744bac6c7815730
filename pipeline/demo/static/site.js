// The page works without this file: forms post, links load. With it, fewer loads.
(() => {
  document.querySelectorAll("[data-event]").forEach((button) => {
    button.addEventListener("click", () => {
      const { event, ...properties } = button.dataset;
      impersonal(event, properties);
      const note = button.parentElement.querySelector(".note");
      if (note) note.hidden = false;
    });
  });

  const tabs = document.querySelectorAll("[data-tab]");
  const show = () => {
    const chosen = location.pathname.split("/")[2];
    document.querySelectorAll("article").forEach((article) => article.classList.toggle("chosen", article.id == chosen));
  };
  tabs.forEach((tab) =>
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      history.pushState(null, "", tab.href);
      show();
    })
  );
  if (tabs.length) {
    addEventListener("popstate", show);
    show();
  }
})();
