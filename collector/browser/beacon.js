// The browser's half of the collector: it reports what no request tells the server.
//
// No cookie, no storage, nothing read about the device. The view id is random, lives in memory and ends with
// the view. Loaded by <script defer src="/_impersonal/beacon.js">; its own address gives the endpoint.
//
// collector/browser/__init__.py serves it without comment lines and white space, each $name as a letter. So: a
// comment has its own line, every statement its semicolon, no literal a space beside anything but letters, and
// a $name is never a property. Language: ES2019.
//
// Each report is one JSON object: k kind, w view id, u path and query, r referrer; n, p, i a custom event's
// name, properties, interactive; e engaged milliseconds since the last ping, s deepest scroll in per cent;
// t target of an outbound link or a download.
//
// Whatever goes wrong in here stays in here: a page must not notice that it is measured.
try {
  const $guard = $act => $given => {
    try {
      $act($given);
    } catch {}
  };

  // impersonal("signup", { plan: "pro" }, { interactive: false }). The function only queues; once the page is
  // shown the queue's push reports at once, so a page's own stub, or a reference taken early, stays good.
  const $api = window.impersonal = window.impersonal || ((...$call) => $queue.push($call));
  const $queue = $api.q = $api.q || [];
  const $endpoint = new URL("event", document.currentScript.src);
  let $page, $unsettled, $since, $engaged, $depth, $told;

  const $post = (k, $rest) => {
    const body = JSON.stringify({ k, w: $api.w, u: $page.pathname + $page.search, ...$rest });
    navigator.sendBeacon && navigator.sendBeacon($endpoint, body) ||
      fetch($endpoint, { method: "POST", body, keepalive: true }).catch(() => {});
  };

  // Attention is visible and focused. The first screen counts as scrolled to. A scroll bar's width may carry
  // the depth past 100: the server cuts it.
  const $attend = () => {
    const $now = performance.now() | 0;
    if ($since) {
      $engaged += $now - $since;
      $depth = Math.max(
        $depth,
        100 * (scrollY + innerHeight) / document.documentElement.scrollHeight + 0.5 | 0
      );
    }
    $since = document.hasFocus() && !document.hidden && $now;
  };

  const $ping = () => {
    $attend();
    if ($engaged > 2999 || $depth > $told) {
      $post("ping", { e: $engaged, s: $depth });
      $told = $depth;
      $engaged = 0;
    }
  };

  // A new view: a random id (32 decimal digits, some 100 random bits) and nothing attended to yet.
  const $show = ($report, r) => {
    $api.w = crypto.getRandomValues(new Uint32Array(8)).join("").slice(0, 32);
    $page = new URL(location);
    $unsettled = !$report;
    $engaged = $depth = $told = 0;
    if ($report) $post("view", { r });
  };

  // Another path is another view, and so is another query, unless it was replaced: a page that tidies
  // ?utm_source away is still the same view.
  const $move = $guard($pushed => {
    if ($page.pathname != location.pathname || $pushed && $page.search != location.search) {
      $ping();
      $show(true);
    }
    $page.search = location.search;
  });

  // Only an address that ends in a dot and a word: a host name, or a file that is not a page. mailto: and the
  // like have no host. Which files are downloads is the server's list. Button 2 opens a menu, not the link.
  const $follow = $event => {
    const { hostname, pathname } = $event.target.closest("a");
    const $away = hostname != location.hostname;
    const t = $away ? hostname : pathname;
    if ($event.button < 2 && /\.(?!html)[\w-]+$/.test(t)) $post($away ? "outbound" : "download", { t });
  };

  const $start = $guard($activated => {
    // A page that carries the tag twice is still one page.
    if ($api.w) return;
    $attend();
    $show($activated, document.referrer);

    ["replaceState", "pushState"].forEach(($method, $pushed) => {
      const $original = history[$method];
      history[$method] = function () {
        const $result = $original.apply(this, arguments);
        $move($pushed);
        return $result;
      };
    });

    const $acts = {
      popstate: $move,
      pageshow: $event => {
        // Not earlier: of a response that is still arriving, Firefox says size 0.
        const [$load] = performance.getEntriesByType("navigation");
        if ($event.persisted) $show(true, document.referrer);
        // The server has not counted a load that was prerendered, came whole from a cache (a 304 has size 300)
        // or was delivered as a "navigational-prefetch".
        if (
          $unsettled &&
          ($load.activationStart || $load.transferSize === 0 || /^nav/.test($load.deliveryType))
        ) $post("view", { r: document.referrer });
      },
      focus: $attend,
      blur: $attend,
      scroll: $attend,
      visibilitychange: $ping,
      click: $follow,
      auxclick: $follow
    };
    for (const $type in $acts) addEventListener($type, $guard($acts[$type]), true);

    $queue.forEach($queue.push = $guard(([n, p, $options = {}]) => {
      $post("event", { n, p, i: $options.interactive });
    }));
  });

  // A prerendered page is not shown yet, and perhaps never.
  document.prerendering ? addEventListener("prerenderingchange", $start, true) : $start();
} catch {}
