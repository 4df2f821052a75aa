package docker

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/local"
)

var (
	comments = regexp.MustCompile(`(?m)^--.*$`)
	grantTo  = regexp.MustCompile(`^(GRANT .*) TO (\w+)$`)
	profile  = regexp.MustCompile(`(?s)^CREATE SETTINGS PROFILE IF NOT EXISTS (\w+) SETTINGS\s+(.*)$`)
)

// The users of ../cluster/users.sql are those of clickhouse_users.xml, but for
// the databases of shards; and ClickHouse reads the file.
func TestUsersSQL(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "deploy/cluster/users.sql"))
	if err != nil {
		t.Fatal(err)
	}
	grants, settings, statements := map[string][]string{}, map[string]map[string]string{}, []string{}
	shard := map[string]int{}
	for s := range strings.SplitSeq(comments.ReplaceAllString(string(text), ""), ";") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		statements = append(statements, s)
		if m := grantTo.FindStringSubmatch(s); m != nil {
			if strings.Contains(m[1], "tapwatch_shard.") {
				if !slices.Contains(grants[m[2]], strings.Replace(m[1], "tapwatch_shard.", "tapwatch.", 1)) {
					t.Errorf("%s is for shards only", s)
				}
				shard[m[2]]++
				continue
			}
			grants[m[2]] = append(grants[m[2]], m[1])
		}
		if m := profile.FindStringSubmatch(s); m != nil {
			settings[m[1]] = map[string]string{}
			for one := range strings.SplitSeq(m[2], ",") {
				name, value, _ := strings.Cut(strings.TrimSpace(one), " = ")
				settings[m[1]][name] = strings.Trim(value, "'")
			}
		}
	}
	all := users(t, secrets(t))
	delete(all, "default")
	for name, u := range all {
		if !slices.Equal(grants[name], u.Grants) {
			t.Errorf("%s (-sql +xml)\n-%s\n+%s", name, strings.Join(grants[name], "\n-"), strings.Join(u.Grants, "\n+"))
		}
		if !maps.Equal(settings[name], u.settings) {
			t.Errorf("%s (-sql +xml)\n-%v\n+%v", name, settings[name], u.settings)
		}
		ours := 0
		for _, g := range u.Grants {
			ours += strings.Count(g, "ON tapwatch.")
		}
		if shard[name] != ours {
			t.Errorf("%s: %d grants on a shard's database, %d on the readers'", name, shard[name], ours)
		}
	}
	if len(all) != 4 || len(grants) != 4 {
		t.Errorf("%d users in XML, %d in SQL", len(all), len(grants))
	}
	if _, _, err := local.FindClickHouse(); err != nil {
		t.Skipf("not read by ClickHouse: %v", err)
	}
	h := newHouse(t)
	login := h.login("reader")
	login.Database = "default"
	conn, err := login.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range statements {
		var formatted string
		if err := conn.QueryRow(t.Context(), "SELECT formatQuery(?)", s).Scan(&formatted); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
