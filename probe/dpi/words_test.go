package dpi

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	var st State
	long := strings.Repeat("x", maxLine)
	for _, tt := range []struct {
		in   string
		line string
		n    int
	}{
		{"abc\r\nd", "abc", 5},
		{"abc\nd", "abc", 4},
		{"\r\n", "", 2},
		{"abc", "", 0},
		{long, long, maxLine}, // no end in sight: its beginning, and then nothing until the next line
		{"rest of it", "", 10},
		{"end\nnext\n", "", 4},
		{"next\n", "next", 5},
	} {
		line, n := st.line(sideDst, []byte(tt.in))
		if string(line) != tt.line || n != tt.n {
			t.Errorf("%.20q: %.20q, %d octets; want %.20q, %d", tt.in, line, n, tt.line, tt.n)
		}
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"select password from users where name = 'x'": "select password from users where name",
		"  (SELECT 1)":                  "SELECT 1)",
		"INSERT INTO t VALUES (1, 'a')": "INSERT INTO t VALUES",
		"SET PASSWORD = 'secret'":       "SET PASSWORD",
		"":                              "",
	} {
		if got := string(sqlWords([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for _, tt := range []struct {
		in   string
		want verdict
	}{{"HELO", undecided}, {"he", undecided}, {"helo x", yes}, {"HELOX", no}, {"x", no}, {"", undecided}} {
		if got := startsWord([]byte(tt.in), "HELO"); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.in, got, tt.want)
		}
	}
	if got := string(appendUTF16(nil, []byte("a\x00\xfc\x00\x3d\xd8\x00\xdeb\x00\x00\x00c\x00"))); got != "aü😀b" {
		t.Errorf("UTF-16: %q", got)
	}
	if number([]byte("9999999999999999999")) != -1 || number([]byte("")) != -1 || number([]byte("12")) != 12 {
		t.Error("numbers")
	}
}
