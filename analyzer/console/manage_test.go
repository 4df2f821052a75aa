package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/retro"
)

// post sends something to the console as a script would, and returns the status
// and the body.
func (r *rig) post(method, path, body string) (int, string) {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Host = "localhost:8410"
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.console.handler.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// expect fails where the status is another.
func (r *rig) expect(want int, method, path, body string) string {
	r.t.Helper()
	status, text := r.post(method, path, body)
	if status != want {
		r.t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, text)
	}
	return text
}

// What people do about alerts, exclusions and sweeps is stored, stands in the
// audit log, and is shown; first over the API, then by a browser (S5, S8, S10).
func TestManage(t *testing.T) {
	r := newRig(t, "console_manage", Config{Listen: "127.0.0.1:0"})
	r.fill(2)
	a := scanAlertOf(day0)
	a.Unless = []string{"fewer than 10 ports", hostile[0]}
	scan := r.raise(a)
	hidden := scanAlertOf(day0)
	hidden.Entities, hidden.Actor, hidden.SuppressedBy = []string{"actor=10.9.9.9"}, "10.9.9.9", "exclusion:x"
	r.raise(hidden)

	at := "/api/v1/alerts/" + scan.ID
	r.expect(200, http.MethodPost, at+"/events", `{"kind":"owner","value":"ann"}`)
	r.expect(200, http.MethodPost, at+"/events", `{"kind":"state","value":"acknowledged","comment":"looking"}`)
	r.expect(200, http.MethodPost, at+"/events", `{"kind":"comment","value":"<script>window.pwned=1</script>"}`)
	r.expect(422, http.MethodPost, at+"/events", `{"kind":"severity","value":"low"}`)
	r.expect(400, http.MethodPost, at+"/events", `{"kind":"state","value":"done"}`)
	r.expect(404, http.MethodPost, "/api/v1/alerts/nosuch/events", `{"kind":"state","value":"closed"}`)
	var list Alerts
	for query, want := range map[string]int{"": 1, "&state=acknowledged": 1, "&state=open": 0, "&state=closed": 0, "&hidden=true": 2} {
		if r.get("/api/v1/alerts?last=all"+query, &list); len(list.Alerts) != want {
			t.Errorf("alerts%s: %d, want %d", query, len(list.Alerts), want)
		}
	}
	var one OneAlert
	if r.get(at, &one); one.Alert.Status.Owner != "ann" || one.Alert.Status.State != "acknowledged" || one.Alert.Status.Comments != 1 || len(one.Alert.Unless) != 2 {
		t.Errorf("%+v", one.Alert.Status)
	}
	if text := r.expect(200, http.MethodGet, at+"/report.html", ""); !strings.Contains(text, "<html") || strings.Contains(text, hostile[0]) {
		t.Error("the report is no page, or runs what a comment says")
	}
	r.expect(200, http.MethodGet, at+"/report.json", "")

	r.expect(400, http.MethodPost, "/api/v1/exclusions", `{"owner":"ann","comment":"all"}`)
	r.expect(400, http.MethodPost, "/api/v1/exclusions", `{"networks":["10.0.0.0/33"],"owner":"ann","comment":"x"}`)
	preview := r.expect(200, http.MethodPost, "/api/v1/exclusions/preview?last=all", `{"networks":["`+a.Actor+`"],"owner":"","comment":""}`)
	if !strings.Contains(preview, `"looked":1,"hidden":1`) {
		t.Error(preview)
	}
	made := r.expect(200, http.MethodPost, "/api/v1/exclusions", `{"networks":["10.77.0.0/16"],"owner":"ann","comment":"lab","expires":"2099-01-31"}`)
	id := made[strings.Index(made, `"id":"`)+6:]
	id = id[:strings.Index(id, `"`)]
	var all Exclusions
	if r.get("/api/v1/exclusions", &all); len(all.Exclusions) != 1 || !all.Exclusions[0].Active || all.Exclusions[0].Who != "local" || all.Exclusions[0].Expires != "2099-01-31T00:00:00Z" {
		t.Errorf("%+v", all)
	}
	r.expect(200, http.MethodDelete, "/api/v1/exclusions/"+id+"?why=over", "")
	r.expect(404, http.MethodDelete, "/api/v1/exclusions/"+id, "") // stands in the audit log, too: it was tried
	if r.get("/api/v1/exclusions", &all); all.Exclusions[0].Active || all.Exclusions[0].Comment != "over" {
		t.Errorf("%+v", all)
	}

	r.expect(400, http.MethodPost, "/api/v1/sweeps", `{"name":"none","list":"nothing"}`)
	peer := oneText(r, "SELECT replaceRegexpOne(toString(dst_ip), '^::ffff:', '') FROM flows WHERE dst_payload_bytes > 0 ORDER BY start LIMIT 1")
	r.expect(200, http.MethodPost, "/api/v1/sweeps", `{"name":"<b>mine</b>","list":"`+peer+`\nevil.example"}`)
	s := retro.New(r.conn, alert.NewStore(r.conn), r.console.log, nil)
	if err := s.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sweeps Sweeps
	if r.get("/api/v1/sweeps", &sweeps); len(sweeps.Sweeps) != 1 || sweeps.Sweeps[0].State != "done" || sweeps.Sweeps[0].Hits == 0 {
		t.Fatalf("%+v", sweeps)
	}
	var sweep OneSweep
	if r.get("/api/v1/sweeps/"+sweeps.Sweeps[0].ID, &sweep); len(sweep.Hits) == 0 || sweep.Hits[0].Seen != peer || len(sweep.Days) == 0 || !strings.Contains(sweep.Coverage, "looked through") {
		t.Errorf("%+v", sweep)
	}
	var page HostPage
	if r.get("/api/v1/hosts/"+sweep.Hits[0].Host+"?last=all", &page); len(page.Hits) == 0 {
		t.Errorf("%+v", page)
	}
	r.expect(400, http.MethodGet, "/api/v1/hosts/x", "")
	r.expect(200, http.MethodGet, "/api/v1/first?what="+peer, "")
	var log Audit
	if r.get("/api/v1/audit", &log); len(log.Entries) != 7 || log.Entries[0].Action != "incident.owner" || log.Entries[6].Action != "sweep.ask" {
		t.Errorf("%d entries in the audit log: %+v", len(log.Entries), log.Entries)
	}

	ctx := browser(t)
	base := r.serve()
	var text string
	var pwned bool
	do(t, ctx,
		chromedp.EmulateViewport(1280, 1400), chromedp.Navigate(base+"/?last=all&alert="+scan.ID),
		chromedp.WaitVisible("#detail .handling .events li"), screenshot("incident-1280"),
		chromedp.Click(`#detail [data-act="verdict:benign"]`), chromedp.WaitVisible(`#detail [data-act="verdict:benign"][aria-pressed=true]`),
		chromedp.Click(`#detail [data-act="state:closed"]`), chromedp.WaitVisible(`#detail [data-act="state:open"]`),
		evaluate(`document.querySelector('#detail').textContent`, func(s string) { text = s }),
	)
	if !strings.Contains(text, hostile[0]) || !strings.Contains(text, "fewer than 10 ports") || !strings.Contains(text, "benign") {
		t.Errorf("the incident is shown as %.600q", text)
	}
	do(t, ctx,
		chromedp.Navigate(base+"/?last=all"), chromedp.WaitVisible("#exclusion-add"), chromedp.WaitVisible("#sweeps tbody tr"),
		chromedp.Click("#exclusion-add"), chromedp.WaitVisible("#exclusion-form"), screenshot("exclusion-1280"),
		chromedp.SendKeys(`#exclusion-form [name=networks]`, a.Actor), chromedp.SendKeys(`#exclusion-form [name=comment]`, "by hand"),
		chromedp.Click("#exclusion-try"), chromedp.WaitVisible("#detail .preview b"),
		evaluate(`document.querySelector('#detail .preview').textContent`, func(s string) { text = s }),
		chromedp.Click("#exclusion-save"), chromedp.WaitNotVisible("#detail"), chromedp.WaitVisible(`#exclusions [data-key^=remove]`),
	)
	if !strings.Contains(text, "1 of ") {
		t.Errorf("the preview says %q", text)
	}
	do(t, ctx,
		chromedp.Navigate(base+"/?last=all&sweep="+sweeps.Sweeps[0].ID), chromedp.WaitVisible("#detail .coverage"), chromedp.WaitVisible("#detail tbody tr"), screenshot("sweep-1280"),
		chromedp.Navigate(base+"/?last=all&about="+sweep.Hits[0].Host), chromedp.WaitVisible("#detail tbody tr"), screenshot("host-1280"),
		chromedp.EmulateViewport(390, 1400), chromedp.Navigate(base+"/?last=all&alert="+scan.ID), chromedp.WaitVisible("#detail .handling .events li"), screenshot("incident-390"),
		evaluate(`!!window.pwned || document.documentElement.scrollWidth > innerWidth`, func(v bool) { pwned = v }),
	)
	if pwned {
		t.Error("a comment ran as script, or the page is too wide")
	}
	if r.get("/api/v1/audit", &log); len(log.Entries) != 10 {
		t.Errorf("%d entries in the audit log after the browser: %+v", len(log.Entries), log.Entries)
	}
}

// oneText is the only text of an answer.
func oneText(r *rig, sql string) (text string) {
	r.t.Helper()
	if err := r.conn.QueryRow(r.t.Context(), sql).Scan(&text); err != nil {
		r.t.Fatal(err)
	}
	return text
}
