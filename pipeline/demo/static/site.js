// The page works without this file: forms post, links load. With it, fewer loads.
(() => {
  // A choice without a new load: the page it is made on was shown, so its view goes with it, by its id.
  const choose = (act) =>
    fetch("/_impersonal/consent", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        act,
        w: impersonal.w,
        u: location.pathname + location.search,
        r: document.referrer.split("/", 3).join("/"),
      }),
    });

  const bar = document.getElementById("consent-bar");
  if (bar) {
    bar.addEventListener("submit", (event) => {
      event.preventDefault();
      choose(event.submitter.value).then((answer) => {
        if (answer.ok) bar.remove();
        else bar.querySelector("p").textContent = "Your choice could not be stored and nothing has changed. Please try again.";
      });
    });
  }

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
