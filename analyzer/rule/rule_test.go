package rule

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/query"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func TestScenarios(t *testing.T) {
	rules, wrong := Load(os.DirFS("testdata/rules"), query.New())
	if len(wrong) > 0 || len(rules) != 3 {
		t.Fatalf("%d rules, %v", len(rules), wrong)
	}
	detecttest.Scenarios(t, Detectors(rules))
}

func TestErrors(t *testing.T) {
	good := "name: x\ntitle: x\nfilter: dst_port = 22\ngroup_by: [src_ip]\ncondition: count() > 1\n"
	sigma := func(source, detection string) string {
		return "title: x\nlogsource:\n  " + source + "\ndetection:\n  " + detection + "\n"
	}
	tests := []struct{ name, text, want string }{
		{"good", good, ""},
		{"empty", "", ""},
		{"no YAML", "a: [", "f.yml: "},
		{"no mapping", "- 1\n", "f.yml:1: a rule is not made of"},
		{"unknown field", good + "colour: red\n", `f.yml:6: there is no field "colour"`},
		{"twice", good + "name: y\n", "f.yml:6: name is there twice"},
		{"no title", "name: x\ncondition: count() > 1\n", "f.yml:1: a rule needs title"},
		{"name", strings.Replace(good, "name: x", "name: X y", 1), "f.yml:1: name:"},
		{"filter", strings.Replace(good, "dst_port", "dst_prt", 1), "f.yml:3: filter: line 1, column 1"},
		{"filter with a time", strings.Replace(good, "dst_port = 22", "last 7d", 1), "f.yml:3: filter: it has a time"},
		{"group by nothing known", strings.Replace(good, "src_ip", "src_ipp", 1), "f.yml:4: group_by: there is no column \"src_ipp\": did you mean src_ip?"},
		{"group by a list", strings.Replace(good, "src_ip", "dns_names", 1), "f.yml:4: group_by: flows cannot be grouped by dns_names"},
		{"condition", strings.Replace(good, "count() > 1", "many", 1), "f.yml:5: condition:"},
		{"measure", strings.Replace(good, "count() > 1", "median(bytes) > 1", 1), "f.yml:5: condition: there is no measure"},
		{"column of count", strings.Replace(good, "count()", "count(bytes)", 1), "f.yml:5: condition: count() has no column"},
		{"sum of text", strings.Replace(good, "count()", "sum(app)", 1), "f.yml:5: condition: app is not a number"},
		{"less", strings.Replace(good, "count() > 1", "count() < 1", 1), "f.yml:5: condition: the first has to ask for more"},
		{"number", strings.Replace(good, "> 1", "> 1 0", 1), "f.yml:5: condition:"},
		{"SQL", strings.Replace(good, "src_ip", "src_ip`) OR 1", 1), "f.yml:4: group_by: there is no column"},
		{"window", good + "window: soon\n", "f.yml:6: window:"},
		{"step", good + "step: 7m\n", "f.yml:6: step:"},
		{"severity", good + "severity: bad\n", "f.yml:6: severity:"},
		{"rising", good + "rising:\n  worse: 1\n", "f.yml:7: rising:"},
		{"technique", good + "techniques: [X1]\n", "f.yml:6: techniques:"},
		{"confidence", good + "confidence: 2\n", "f.yml:6: confidence:"},
		{"actor", good + "actor: dst_ip\n", "f.yml:6: actor: dst_ip is not in group_by"},
		{"placeholder", strings.Replace(good, "title: x", "title: '{dst_ip}'", 1), "f.yml:2: title: {dst_ip}"},
		{"alias", "name: &a x\ntitle: *a\ncondition: count() > 1\n", "no alias"},
		{"second document", good + "---\nname: y\n", "f.yml:7: a rule needs title"},
		{"Sigma", sigma("category: firewall", "s: {dst_port: 22}\n  condition: s"), ""},
		{"Sigma source", sigma("category: process_creation", "s: {Image: x}\n  condition: s"), `f.yml:3: logsource: category "process_creation"`},
		{"Sigma field of processes", sigma("category: network_connection", "s: {Image: x}\n  condition: s"), "f.yml:5: the field Image cannot be answered: which process"},
		{"Sigma field of nothing", sigma("category: dns", "s: {colour: x}\n  condition: s"), "f.yml:5: the field colour cannot be answered"},
		{"Sigma keywords", sigma("category: dns", "s: [x, y]\n  condition: s"), "f.yml:5: keywords without a field"},
		{"Sigma modifier", sigma("category: dns", "s: {query|base64: x}\n  condition: s"), "f.yml:5: the modifier base64"},
		{"Sigma condition", sigma("category: dns", "s: {query: x}\n  condition: s and t"), `f.yml:6: condition: there is no selection "t"`},
		{"Sigma parenthesis", sigma("category: dns", "s: {query: x}\n  condition: (s"), "f.yml:6: condition: a ) is missing"},
		{"Sigma pipe", sigma("category: dns", "s: {query: x}\n  condition: s | near t"), "f.yml:6: condition: the pipe"},
		{"Sigma not initiated", sigma("category: network_connection", "s: {Initiated: false}\n  condition: s"), "f.yml:5: Initiated: connections that others initiated"},
		{"Sigma address", sigma("category: firewall", "s: {src_ip: 10.0.0}\n  condition: s"), "f.yml:5: src_ip:"},
	}
	for _, test := range tests {
		rules, wrong := Parse("f.yml", []byte(test.text), query.New())
		got := fmt.Sprint(wrong)
		if test.want == "" && len(wrong) > 0 || test.want != "" && !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %q (%d rules)", test.name, got, test.want, len(rules))
		}
	}
}

// What selections become.
func TestSigmaFilters(t *testing.T) {
	tests := []struct{ source, detection, want string }{
		{"category: proxy", `s: {c-uri|contains|all: ['/a?', 'b%']}`, `http_uri ilike '%/a_%' or http_requests ilike '%/a_%' AND http_uri ilike '%b\\%%' or http_requests ilike '%b\\%%'`},
		{"category: proxy", `s: {c-useragent: ['curl/*', '']}`, `http_user_agent ilike 'curl/%' OR not http_user_agent exists`},
		{"category: webserver", `s: {sc-status|gte: 500, cs-method: post}`, `http_status >= 500 or http_status exists and http_status >= 500 AND http_method ilike 'post'`},
		{"category: firewall", `s: {dst_ip|startswith: '192.168.', src_ip: 'fd00::/8', proto: udp}`, `dst_ip in 192.168.0.0/16 AND src_ip in fd00::/8 AND protocol = 'udp'`},
		{"{product: zeek, service: ssl}", `s: {server_name|re: '^[a-z]{30}\.', ja3: null}`, `tls_sni ~ '(?s)^[a-z]{30}\\.' AND not ja3 exists`},
	}
	strip := strings.NewReplacer("(", "", ")", "", " and ", " AND ")
	for _, test := range tests {
		source := "\n  " + test.source
		if strings.HasPrefix(test.source, "{") {
			source = " " + test.source
		}
		rules, wrong := Parse("f.yml", []byte("title: x\nlogsource:"+source+"\ndetection:\n  "+test.detection+"\n  condition: s\n"), query.New())
		if len(wrong) > 0 || len(rules) != 1 {
			t.Errorf("%s: %v", test.detection, wrong)
			continue
		}
		want := strings.NewReplacer("(", "", ")", "", " and ", " AND ", " OR ", " or ").Replace(test.want)
		if got := strip.Replace(rules[0].Filter); got != want {
			t.Errorf("%s:\n-%s\n+%s", test.detection, got, want)
		}
	}
}

func TestWild(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{{"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"*b", "ab", true}, {"a*b*c", "axbxc", true}, {"a*b*c", "axc", false}, {"aa*a", "aa", false}, {"*", "", true}} {
		if got := wild(test.pattern, test.name); got != test.want {
			t.Errorf("%s of %s: %v", test.pattern, test.name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/rules/many_admin_hosts.yml", "testdata/rules/sigma.yml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("title: x\nlogsource: {category: dns}\ndetection: {s: {query: '%_\\*'}, condition: not not (s)}"))
	lang := query.New()
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, _ := Parse("f.yml", text, lang)
		for _, r := range rules {
			i := r.Detector().Info()
			if i.Length < i.Step || i.Step < 10*time.Second || i.Length%i.Step != 0 || !strings.HasPrefix(i.Name, Prefix) {
				t.Errorf("%+v", i)
			}
		}
	})
}
