package novelty

import (
	"maps"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// most are the rows that a statement may return for a window.
const most = "1000"

// plain makes a detector of an hour's windows whose statement returns findings. p
// are the parameters of its own.
func plain(own detect.Own, info detect.Info, sql, find string, p, findParams detect.Params, judge func(a *alert.Alert, c *finding) detect.Verdict) detect.Detector {
	if info.Length == 0 {
		info.Length, info.Step = time.Hour, time.Hour
	}
	return detect.New(detect.Spec[finding]{
		Info: info,
		SQL:  detect.Compose(sql),
		Params: func(w detect.Window) detect.Params {
			q := all(own.Params().Unix(w))
			if info.Length < time.Hour {
				q = all(own.Params().Span(w))
			}
			maps.Copy(q, p)
			q["limit"] = most
			return q
		},
		Judge:      judge,
		Find:       detect.Compose(find),
		FindParams: findParams,
	})
}

// days is a parameter of a number of days.
func days(name string, n int, doc string) detect.Parameter {
	return detect.Parameter{Name: name, Value: detect.Number(n), Doc: doc}
}

// grown is the magnitude's next step of severity.
func grown(c *finding, from float64, below, above alert.Severity) alert.Severity {
	if c.Amount >= from {
		return above
	}
	return below
}
