package config

import (
	"reflect"
	"testing"
	"time"
)

func TestChanges(t *testing.T) {
	type inner struct {
		Wait time.Duration `conf:"wait"`
		Key  Secret        `conf:"key"`
	}
	type outer struct {
		Name  string   `conf:"name"`
		List  []string `conf:"list"`
		Inner inner    `conf:"inner"`
		Each  []inner  `conf:"each"`
		Other int
	}
	old := outer{Name: "a", List: []string{"x"}, Inner: inner{time.Second, "s1"}, Other: 1}
	same := old
	same.List, same.Each, same.Other = []string{"x"}, []inner{}, 2
	if got, err := Changes(old, same); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	got, err := Changes(old, outer{Name: "b", Inner: inner{2 * time.Second, "s2"}, Each: []inner{{}}})
	want := []Change{{"name", "a", "b"}, {"list", "x", ""}, {"inner.wait", "1s", "2s"}, {"inner.key", "***", "***"}, {"each", "0 entries", "1 entries"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("(-got +want)\n-%v\n+%v, %v", got, want, err)
	}
}
