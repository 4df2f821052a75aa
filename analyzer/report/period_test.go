package report

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Skipf("no time zones: %v", err)
	}
	santiago, err := time.LoadLocation("America/Santiago") // puts the clock forward at midnight
	if err != nil {
		t.Skip(err)
	}
	for _, tt := range []struct {
		kind        string
		at          time.Time
		name        string
		hours       float64
		next, start string
	}{
		{Daily, time.Date(2026, 10, 25, 13, 0, 0, 0, vienna), "daily-2026-10-25", 25, "daily-2026-10-26", "2026-10-24T22:00:00Z"},
		{Daily, time.Date(2026, 3, 29, 1, 0, 0, 0, vienna), "daily-2026-03-29", 23, "daily-2026-03-30", "2026-03-28T23:00:00Z"},
		{Daily, time.Date(2026, 9, 6, 12, 0, 0, 0, santiago), "daily-2026-09-06", 23, "daily-2026-09-07", "2026-09-06T04:00:00Z"},
		{Weekly, time.Date(2026, 11, 1, 23, 0, 0, 0, time.UTC), "weekly-2026-10-26", 168, "weekly-2026-11-02", "2026-10-26T00:00:00Z"},
		{Weekly, time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), "weekly-2026-11-02", 168, "weekly-2026-11-09", "2026-11-02T00:00:00Z"},
		{Monthly, time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC), "monthly-2026-12", 744, "monthly-2027-01", "2026-12-01T00:00:00Z"},
	} {
		p, err := PeriodOf(tt.kind, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Start.UTC().Format(time.RFC3339); p.Name() != tt.name || p.End.Sub(p.Start).Hours() != tt.hours || got != tt.start || p.Next().Name() != tt.next || !p.Next().Start.Equal(p.End) {
			t.Errorf("%s at %v: %s from %s, %v h, then %s; want %+v", tt.kind, tt.at, p.Name(), got, p.End.Sub(p.Start).Hours(), p.Next().Name(), tt)
		}
	}
}

func TestTrend(t *testing.T) {
	end := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	hours := make([]float64, 40*24)
	for i := range hours { // the busiest hour of a day has 450 MB and 9 MB more each day
		hours[i] = (450e6 + float64(i/24)*9e6) * (0.6 + 0.4*math.Sin(float64(i%24)*math.Pi/24))
	}
	hours[77], hours[78] = math.NaN(), math.NaN()
	c := trend("", "a", hours, 2e6, end)
	perDay := 9e6 * 8 / 3600
	if math.Abs(c.Slope-perDay) > perDay*1e-6 || math.Abs(c.Busiest-(450e6+39*9e6)*8/3600) > 1 {
		t.Errorf("slope %v, want %v; level %v", c.Slope, perDay, c.Busiest)
	}
	if c.Next < c.Busiest*0.9 || c.Next > c.Busiest*1.2 || c.NextHigh < c.Next {
		t.Errorf("next day %v to %v, level %v", c.Next, c.NextHigh, c.Busiest)
	}
	if !c.Full.Equal(end) {
		t.Errorf("full at %v", c.Full)
	}
	c = trend("", "a", hours, 4e6, end)
	if days := c.Full.Sub(end).Hours() / 24; math.Abs(days-(0.8*4e6-c.Busiest)/perDay) > 0.01 {
		t.Errorf("full in %v days", days)
	}
	if c := trend("", "a", []float64{math.NaN(), math.NaN()}, 1e6, end); c.Days != 0 || !c.Full.IsZero() {
		t.Errorf("nothing: %+v", c)
	}
}

func FuzzCell(f *testing.F) {
	for _, s := range []string{"=1+1", "\t=1", "@a", "-1", "plain", " =x", "\r\n=x", "\x00=", "é", "\xff", "\u202e=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := cell(s)
		if c != "" && strings.ContainsRune("=+-@\t\r\n", rune(c[0])) || strings.ContainsAny(c, "\r\n\x1b\x00") {
			t.Errorf("%q became %q", s, c)
		}
	})
}
