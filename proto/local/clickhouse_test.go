package local

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
)

func TestStart(t *testing.T) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	c, err := StartClickHouse(t.Context(), ClickHouseConfig{Dir: t.TempDir(), Users: []ClickHouseUser{{Name: "ro", Password: "x", ReadOnly: true, Grants: []string{"GRANT SELECT ON tapwatch.*"}}}}, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"select name, value from system.server_settings where changed", "select name,value from system.settings where name in ('async_insert') ", "select name,value,changed from system.settings where changed", "select name,value from system.merge_tree_settings where name like 'min_free%' or changed", "select * from system.users format Vertical", "show grants for ro", "select * from system.disks format Vertical", "select name,engine from system.databases"} {
		s, err := c.httpQuery(t.Context(), q)
		fmt.Println(s, err)
	}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	fmt.Println(string(b))
	fmt.Println(c.Close())
	es, _ := os.ReadDir(c.cfg.Dir)
	for _, e := range es {
		fmt.Println(e.Name())
	}
	b, _ = os.ReadFile(c.cfg.Dir + "/clickhouse.log")
	fmt.Println(string(b))
}
