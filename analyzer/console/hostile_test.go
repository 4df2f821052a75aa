package console

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// injections are texts that would change a statement they were pasted into.
func injections() []string {
	list := []string{
		`'`, `"`, "`", `\`, `\'`, `''`, `';`, `--`, `/*`, `*/`, `#`, `)`, `(`, `]`, `}`, `{`, `{x:String}`, `{from:DateTime64(9, 'UTC')}`, `%`, `_`, `?`, `@x`, `$1`, `\0`, "\x00",
		"\n", "\r\n", "\t", "\\n", "\\\\", "\xff\xfe", "\u2028", "ÿ", "😀", strings.Repeat("A", 250), strings.Repeat("'", 200), strings.Repeat(`\`, 200),
		`1' OR '1'='1`, `1 OR 1=1`, `' UNION ALL SELECT name FROM system.tables --`, `') UNION ALL SELECT 1 --`, `'; DROP TABLE flows; --`, `\'; DROP TABLE flows; --`,
		`' FORMAT TSV --`, `' INTO OUTFILE '/tmp/x' --`, `' SETTINGS readonly=0 --`, `1; SELECT sleep(3)`, `(SELECT sleep(3))`, `' OR sleep(3)=1 --`,
		`file('/etc/passwd')`, `' UNION SELECT * FROM url('http://127.0.0.1:1/x', TSV, 'a String') --`, `NULL`, `null`, `NaN`, `inf`, `-1`, `0x10`, `1e9`, `99999999999999999999`,
		`true`, `[1,2]`, `['a']`, `{}`, `()`, `tuple()`, `toString(1)`, `version()`, `currentUser()`, `hostName()`, `\N`, `\x27`, `%27`, `&apos;`, `＇`, `ʼ`,
	}
	for _, end := range []string{"'", `\`, `\\`, "`", `"`} {
		for _, tail := range []string{"", " OR 1=1", ") --", " UNION ALL SELECT 1,2,3 --", "\n--", "||version()||", "; SELECT 1"} {
			list = append(list, "x"+end+tail, "10.0.0.1"+end+tail)
		}
	}
	return list
}

// No parameter of any operation reaches the text of a statement (S4): each
// payload in each parameter is refused in a sentence or looked for as it is.
func TestNoParameterIsSQL(t *testing.T) {
	r := newRig(t, "console_sql", Config{})
	stored, _ := r.fill(1)
	var api struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	r.get("/api/openapi.json", &api)
	asked := 0
	payloads := injections()
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		for _, p := range api.Paths[path]["get"].Parameters {
			for i, payload := range payloads {
				// Each payload goes through every parameter's kind, not through each
				// parameter of each path: they share their code.
				if (i+len(path)+len(p.Name))%12 != 0 {
					continue
				}
				target := path + "?" + url.Values{p.Name: {payload}}.Encode()
				if p.In == "path" {
					target = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(payload))
				}
				resp := r.get(target, nil)
				asked++
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode >= 500 {
					t.Errorf("%s: %d %s", target, resp.StatusCode, body)
				}
				if strings.Contains(string(body), "DB::Exception") {
					t.Errorf("%s: shows ClickHouse's error: %s", target, body)
				}
				var list struct{ Flows []any }
				if path == "/api/v1/flows" && p.Name != "limit" && p.Name != "order" && p.Name != "last" && p.Name != "from" && p.Name != "to" &&
					json.Unmarshal(body, &list) == nil && len(list.Flows) > 0 {
					t.Errorf("%s: %d flows fit", target, len(list.Flows))
				}
			}
		}
	}
	if asked < 400 {
		t.Errorf("%d questions asked, want at least 400", asked)
	}
	var n uint64
	if err := r.conn.QueryRow(t.Context(), "SELECT count() FROM flows").Scan(&n); err != nil || n != uint64(stored) {
		t.Errorf("%d flows are left of %d (%v)", n, stored, err)
	}
}

// What is stored is found by its own text and by no other, and comes back as it
// was.
func TestStoredTextIsFoundAsItIs(t *testing.T) {
	r := newRig(t, "console_text", Config{})
	sample := recorded(t)
	payloads := slices.DeleteFunc(injections(), func(s string) bool {
		return len(s) > 100 || strings.Contains(s, "\xff") || strings.HasPrefix(s, "*.")
	})
	payloads = slices.Compact(slices.Sorted(slices.Values(payloads)))
	var rows []map[string]any
	for i, p := range payloads {
		row := maps.Clone(sample[i%len(sample)])
		row["probe"], row["epoch"], row["flow_id"], row["start"], row["end"] = p, 1, i+1, day0.Format(time.RFC3339Nano), day0.Format(time.RFC3339Nano)
		row["tls_sni"], row["ja4"], row["app"], row["http_user_agent"], row["dns_names"] = p, p, p, p, []string{p}
		rows = append(rows, row)
	}
	r.store(rows)
	when := "from=" + day0.Format(time.RFC3339) + "&to=" + day0.Add(time.Hour).Format(time.RFC3339) + "&"
	for i, p := range payloads {
		question := "sni"
		if i%4 > 0 {
			question = []string{"", "app", "probe", "ja4"}[i%4]
		}
		if len(p) > 64 && question != "sni" {
			question = "sni"
		}
		if p == "-" && question == "app" {
			continue // the name for undetermined
		}
		var list struct {
			Flows []struct {
				Probe, App, JA4 string
				TLSSNI          string `json:"tls_sni"`
				UA              string `json:"http_user_agent"`
			}
		}
		r.get("/api/v1/flows?"+when+url.Values{question: {p}}.Encode(), &list)
		if len(list.Flows) != 1 || list.Flows[0].TLSSNI != p || list.Flows[0].UA != p || list.Flows[0].Probe != p {
			t.Errorf("%s=%q: got %+v", question, p, list.Flows)
		}
	}
	// As names of the sums, too.
	for _, by := range []string{"app", "tls_sni", "dns_name", "ja4"} {
		var top struct{ Top []struct{ Name string } }
		r.get("/api/v1/top?"+when+"n=1000&by="+by, &top)
		var names []string
		for _, e := range top.Top {
			names = append(names, e.Name)
		}
		if slices.Sort(names); !slices.Equal(names, payloads) {
			t.Errorf("top by %s (-got +want)\n-%q\n+%q", by, names, payloads)
		}
	}
	var series struct {
		Series []struct {
			Name  string
			Total uint64
		}
	}
	r.get("/api/v1/timeseries?"+when+"split=app&n=12&metric=flows", &series)
	if len(series.Series) != 13 {
		t.Errorf("%d series, want 12 and other", len(series.Series))
	}
}

// A cell that a spreadsheet would take for a formula is disarmed (S6).
func TestCSVHasNoFormulas(t *testing.T) {
	r := newRig(t, "console_csv", Config{})
	sample := recorded(t)
	cells := []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=HYPERLINK(\"http://x\",\"y\")", "a,b\"c\r\nd", "plain.example", "\ufeff=1", "\n=1"}
	var rows []map[string]any
	for i, c := range cells {
		row := maps.Clone(sample[i])
		row["probe"], row["flow_id"], row["start"], row["end"] = "p", i+1, day0.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano), day0.Add(time.Hour).Format(time.RFC3339Nano)
		row["tls_sni"], row["http_user_agent"], row["dns_names"] = c, c, []string{c, "x"}
		rows = append(rows, row)
	}
	r.store(rows)
	resp := r.get("/api/v1/flows.csv?order=oldest&from="+day0.Format(time.RFC3339)+"&to="+day0.Add(time.Hour).Format(time.RFC3339), nil)
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/csv") {
		t.Errorf("content type %q", got)
	}
	lines, err := csv.NewReader(resp.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != len(cells)+1 {
		t.Fatalf("%d lines, want %d", len(lines), len(cells)+1)
	}
	at := slices.Index(lines[0], "tls_sni")
	for i, line := range lines[1:] {
		for _, cell := range line {
			if s := strings.TrimLeft(cell, " \ufeff\u00a0"); s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
				t.Errorf("row %d has the formula %q", i, cell)
			}
		}
		want := cells[i]
		if disarm(want) != want {
			want = "'" + want
		}
		if got := line[at]; got != strings.ReplaceAll(want, "\r", "") { // encoding/csv writes line ends only
			t.Errorf("row %d: tls_sni %q, want %q", i, got, want)
		}
	}
}

// The page makes elements one by one and runs nothing that came as text, and
// the statements of this package are put together from its own texts (S4, S5).
func TestSourceKeepsToTheRules(t *testing.T) {
	page := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\('on|DOMParser|createContextualFragment|srcdoc|https?://`)
	inline := regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|\son[a-z]+\s*=|\sstyle\s*=|<style|javascript:|src="http|href="http`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, line := range strings.Split(string(body), "\n") {
			switch filepath.Ext(path) {
			case ".js":
				if m := page.FindString(line); m != "" && !strings.Contains(line, "www.w3.org/2000/svg") && !strings.Contains(line, "https://attack.mitre.org/techniques/") {
					t.Errorf("%s:%d: %s", path, n+1, m)
				}
			case ".html":
				if m := inline.FindString(line); m != "" {
					t.Errorf("%s:%d: inline %q", path, n+1, m)
				}
			case ".css":
				if strings.Contains(line, "url(") || strings.Contains(line, "@import") {
					t.Errorf("%s:%d: loads something", path, n+1)
				}
			case ".go":
				if !strings.HasSuffix(path, "_test.go") && strings.Contains(line, "Sprintf") && strings.Contains(line, "SELECT") {
					t.Errorf("%s:%d: a statement by Sprintf", path, n+1)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Evidence runs read-only, whatever an alert holds.
func TestEvidenceCannotWrite(t *testing.T) {
	r := newRig(t, "console_evidence", Config{})
	stored, _ := r.fill(1)
	for i, sql := range []string{
		"INSERT INTO alerts (id) VALUES ('x')", "DROP TABLE flows", "ALTER TABLE flows DELETE WHERE 1", "TRUNCATE TABLE flows", "CREATE TABLE x (a UInt8) ENGINE = Memory",
		"SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')", "SELECT * FROM file('/etc/passwd', 'TSV', 'a String')", "SELECT * FROM remote('127.0.0.1:1', system.one)",
		"SET readonly = 0", "SELECT 1 SETTINGS readonly = 0", "SYSTEM SHUTDOWN", "KILL QUERY WHERE 1", "SELEC",
	} {
		a := scanAlertOf(day0)
		a.Entities, a.EvidenceSQL, a.EvidenceParams = []string{fmt.Sprint("n=", i)}, sql, nil
		resp := r.get("/api/v1/alerts/"+r.raise(a).ID+"/evidence", nil)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode < 400 {
			t.Errorf("%s: %d %s", sql, resp.StatusCode, body)
		}
		if strings.Contains(string(body), "root:") || strings.Contains(string(body), "DB::Exception") {
			t.Errorf("%s: shows %s", sql, body)
		}
	}
	var n uint64
	if err := r.conn.QueryRow(t.Context(), "SELECT count() FROM flows").Scan(&n); err != nil || n != uint64(stored) {
		t.Errorf("%d flows are left of %d (%v)", n, stored, err)
	}
	resp := r.get("/api/v1/alerts/nosuch/evidence", nil)
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown alert: %d", resp.StatusCode)
	}
}
