// The banner without a reload. The form works without this file; the rules of writing are those of beacon.js.
//
// Where the page carries no banner because it comes from a cache, this fetches it: the script's own address
// gives the endpoint, and ?language=kk in it the language.
try {
  const $own = document.currentScript.src;

  const $show = $banner => {
    // A page that carries the tag twice still asks once.
    if ($banner.onsubmit) return;
    const $status = $banner.querySelector("[role=status]");
    let $busy, $before, $chosen, once;

    // Whoever came in by the keyboard goes back to where they were.
    $banner.addEventListener("focusin", $event => {
      const $from = $event.relatedTarget;
      if ($from && !$banner.contains($from)) $before = $from;
    });

    const $leave = () => $banner.remove();

    const $close = () => {
      [...$banner.children].forEach($part => $part == $status || $part.remove());
      $status.textContent = $banner.dataset.done;
      ($before && $before.isConnected ? $before : $status).focus({ preventScroll: true });
      // Not from under a keyboard: its next key would start from the top of the page.
      setTimeout(() => {
        $status.matches(":focus-visible") ? $status.onblur = $leave : $leave();
      }, 5000);
    };

    const $fail = () => {
      $busy = false;
      $status.textContent = $banner.dataset.failed;
      $status.scrollIntoView({ block: "nearest" });
    };

    $banner.onsubmit = $event => {
      $event.preventDefault();
      if ($busy) return;
      $busy = true;
      $status.textContent = "";
      const act = $event.submitter.value;
      const $fields = new FormData($event.target);
      const purposes = $fields.getAll("purposes");
      // 128 random bits, in memory only, by which the server knows a choice again whose answer was lost. Another
      // choice gets others, and so does one that the server refuses as ended (409).
      if ($chosen != act + purposes) {
        $chosen = act + purposes;
        once = "";
        crypto.getRandomValues(new Uint8Array(16)).forEach($byte => {
          once += ($byte + 256).toString(16).slice(1);
        });
      }
      const body = JSON.stringify({
        act,
        once,
        purposes,
        by: $fields.get("by"),
        w: window.impersonal && impersonal.w,
        u: (location.pathname + location.search).slice(0, 2000),
        r: document.referrer.split("/", 3).join("/")
      });
      fetch($event.target.action, { method: "POST", body, keepalive: true })
        .then($answer => {
          if ($answer.status == 409) $chosen = 0;
          $answer.ok ? $close() : $fail();
        }, $fail);
    };

    // Gone back to: the choice may have been made on a later page.
    addEventListener("pageshow", $event => {
      const [$load] = performance.getEntriesByType("navigation");
      if ($event.persisted || $load && $load.type == "back_forward")
        fetch(new URL("consent", $own))
          .then($answer => $answer.json())
          .then($state => $state.ask || $busy || $leave())
          .catch(() => {});
    });
  };

  const $there = document.getElementById("impersonal-banner");
  if ($there) $show($there);
  else fetch(new URL("banner" + new URL($own).search, $own))
    .then($answer => $answer.status == 200 && $answer.text())
    .then($html => {
      if (!$html) return;
      const $box = document.createElement("template");
      $box.innerHTML = $html;
      const $style = $box.content.querySelector("link");
      const $banner = $box.content.querySelector("section");
      // Its style first: unstyled it would push the page about.
      $style.onload = () => {
        document.body.append($banner);
        $show($banner);
      };
      document.head.append($style);
    })
    .catch(() => {});
} catch {}
