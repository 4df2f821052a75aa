package behaviour

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/baseline"
	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/forecast"
	"github.com/tapwatch/tapwatch/proto/kit"
)

var (
	//go:embed link_forecast.sql
	linkForecastSQL string
	//go:embed app_forecast.sql
	appForecastSQL string
	//go:embed outside.sql
	outsideSQL string
)

// ForecastConfig are the thresholds of link_forecast and app_forecast.
type ForecastConfig struct {
	MinBytes    kit.Bytes `conf:"min_bytes" help:"octets an hour, on average or in the window, from which on a link or application is forecast"`
	Coverage    float64   `conf:"coverage" help:"share of hours that the band is to hold"`
	InARow      int       `conf:"in_a_row" help:"hours in a row that must be outside of it, on the same side"`
	HistoryDays int       `conf:"history_days" help:"days of the past that a forecast is made of"`
	WarmUpDays  int       `conf:"warm_up_days" help:"days for which a link or application is only learnt"`
}

// newForecast looks for hours that are not as was to be expected of the days
// before; kind is link or app.
func newForecast(kind string, c ForecastConfig) detect.Detector {
	info := detect.Info{
		Name: kind + "_forecast", Version: 1, Gap: 24 * time.Hour, Techniques: []string{"T1498"},
		Controls: []string{
			"the time of day and of the week: both are in the forecast",
			"single odd hours: several in a row must be outside, on the same side",
			"unsteady series: the band is as wide as the errors that the forecast made on the series itself",
			"a level that has changed for good: it is said once, and the forecast learns anew from the change on",
			"gaps: hours in which the probe saw nothing are no zeros",
		},
		Parameters: []detect.Parameter{
			{Name: "min_bytes", Value: c.MinBytes.String(), Doc: "octets an hour, on average or in the window"},
			{Name: "coverage", Value: detect.Decimal(c.Coverage), Doc: "share of hours within the band"},
			{Name: "in_a_row", Value: fmt.Sprint(c.InARow), Doc: "hours outside, on the same side"},
			{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days the forecast is made of"},
			{Name: "warm_up_days", Value: fmt.Sprint(c.WarmUpDays), Doc: "days it is learnt"},
		},
	}
	doc := `Octets by the hour are forecast by Holt-Winters (seasons of a day and, from three weeks on, of a week, on log1p; analyzer/forecast) from all before the window. What is outside
of the band for several hours in a row is said: much more, or much less, than was to be expected. The bounds are the quantiles of the forecast's own errors that many hours ahead.
The magnitude is the largest factor between an hour and its forecast, up to 1000. Low; medium from a factor of 4 beyond the band.`
	sql := linkForecastSQL
	if kind == "link" {
		info.Title, info.Length, info.Step, info.Rollups = "A link is not as forecast", 3*time.Hour, time.Hour, []string{"hosts_1h"}
		info.Doc = "A link is what one probe sees. " + doc
	} else {
		sql = appForecastSQL
		info.Title, info.Length, info.Step, info.Rollups = "An application is not as forecast", 6*time.Hour, 3*time.Hour, []string{"flows_1h"}
		info.Doc = "All traffic of one application at a site. " + doc
	}
	return sample(detect.New(detect.Spec[line]{
		Info: info,
		SQL:  strings.ReplaceAll(detect.Compose(sql), "/*outside*/", detect.Compose(outsideSQL)),
		Params: func(w detect.Window) detect.Params {
			return detect.Params{}.Unix(w).With("min_bytes", detect.Number(int64(c.MinBytes)), "history_days", detect.Number(c.HistoryDays),
				"name", "", "site", "", "lower", "[]", "upper", "[]")
		},
		Judge:      func(a *alert.Alert, l *line) detect.Verdict { return l.judge(a, kind, c) },
		Find:       detect.Compose(knownWindowsSQL),
		FindParams: known(c.HistoryDays, c.WarmUpDays),
	}), kind)
}

// line is a series of hours, the last of the window; a gap is -1.
type line struct {
	Site   string    `ch:"site"`
	Name   string    `ch:"name"`
	Since  time.Time `ch:"since"`
	Series []float64 `ch:"series"`
}

// values are the series with NaN for gaps.
func (l line) values() []float64 {
	values := make([]float64, len(l.Series))
	for i, v := range l.Series {
		values[i] = v
		if v < 0 {
			values[i] = math.NaN()
		}
	}
	return values
}

// relearnDays is how many days a series is learnt after its level has changed, of
// which nothing else is said meanwhile.
const relearnDays = forecast.MinSeasons + 1

// judge forecasts the hours of the window from those before it.
func (l line) judge(a *alert.Alert, kind string, c ForecastConfig) detect.Verdict {
	n := int(a.WindowEnd.Sub(a.WindowStart) / time.Hour)
	values := l.values()
	past, now := values[:len(values)-n], values[len(values)-n:]
	if len(past) < 24*c.WarmUpDays {
		return detect.Learning
	}
	from := baseline.SinceDrift(past, 24)
	if from > 0 && len(past)-from < 24*relearnDays {
		return detect.Learning // the level has just changed, which drift says
	}
	m, err := forecast.Fit(past[from:], forecast.Hourly())
	if err != nil {
		return detect.Learning
	}
	bands := make([]forecast.Range, n)
	lower, upper := make([]string, n), make([]string, n)
	side, run, first, last := 0, 0, -1, -1
	for i, v := range now {
		bands[i] = m.Ahead(i+1, c.Coverage)
		lower[i], upper[i] = detect.Decimal(bands[i].Low), detect.Decimal(bands[i].High)
		s := 0
		if v > bands[i].High {
			s = 1
		} else if v < bands[i].Low {
			s = -1
		}
		if s != side || s == 0 {
			side, run = s, 0
		}
		if s != 0 {
			run++
		}
		if run >= c.InARow {
			if first < 0 {
				first = i - run + 1
			}
			last = i
		}
	}
	if first < 0 {
		return detect.Quiet
	}
	l.report(a, kind, c, m, bands, now, first, last, from)
	a.EvidenceParams["name"], a.EvidenceParams["site"] = l.Name, l.Site
	a.EvidenceParams["lower"], a.EvidenceParams["upper"] = "["+strings.Join(lower, ",")+"]", "["+strings.Join(upper, ",")+"]"
	return detect.Raise
}

// report fills in the alert of hours first to last of the window.
func (l line) report(a *alert.Alert, kind string, c ForecastConfig, m *forecast.Model, bands []forecast.Range, now []float64, first, last, from int) {
	var outside int
	var distance, most float64
	worst := first
	for i, v := range now {
		if v <= bands[i].High && v >= bands[i].Low || math.IsNaN(v) {
			continue
		}
		outside++
		distance = max(distance, math.Log1p(v)-math.Log1p(bands[i].High), math.Log1p(bands[i].Low)-math.Log1p(v))
		if factor := math.Abs(math.Log1p(v) - math.Log1p(bands[i].Expected)); factor >= most && i >= first && i <= last {
			most, worst = factor, i
		}
	}
	more := "more"
	if now[worst] < bands[worst].Expected {
		more = "less"
	}
	what := "link " + l.Name
	if kind == "app" {
		what = l.Name
	}
	a.Actor = l.Name
	a.Entities = detect.Entities(kind, l.Name, "site", l.Site)
	a.Title = fmt.Sprintf("%s has %s traffic than forecast: %s in an hour, expected were %s", what, more, detect.Size(now[worst]), detect.Size(bands[worst].Expected))
	a.Start, a.End = a.WindowStart.Add(time.Duration(first)*time.Hour), a.WindowStart.Add(time.Duration(last+1)*time.Hour)
	a.SubScores = map[string]float64{"outside": float64(outside) / float64(len(now)), "distance": min(1, distance/math.Log(4))}
	a.Score = detect.Bounded(max(0.05, 0.4*a.SubScores["outside"]+0.6*a.SubScores["distance"]))
	a.Confidence, a.Severity, a.Magnitude = 0.7, alert.Low, min(math.Exp(most), 1000)
	if distance >= math.Log(4) {
		a.Severity = alert.Medium
	}
	since := l.Since.Add(time.Duration(from) * time.Hour)
	a.Reasons = []string{
		fmt.Sprintf("%d hours in a row outside of the band that holds %v of all hours; the band was %s to %s in the worst of them",
			last-first+1, c.Coverage, detect.Size(bands[worst].Low), detect.Size(bands[worst].High)),
		fmt.Sprintf("learnt from %d hours since %s", len(l.Series)-len(now)-from, since.UTC().Format(time.DateTime)),
	}
	if from > 0 {
		a.Reasons = append(a.Reasons, "learnt anew since then, because the level had changed")
	}
	a.Unless = []string{fmt.Sprintf("fewer than %d hours in a row outside, on the same side", c.InARow), fmt.Sprintf("less than %d days of history", c.WarmUpDays),
		"an average and hours below " + c.MinBytes.String()}
	text, err := json.Marshal(struct {
		Of      string           `json:"of"`
		Since   time.Time        `json:"learnt_since"`
		Until   time.Time        `json:"learnt_until"`
		Anew    bool             `json:"learnt_anew"`
		Weights forecast.Weights `json:"weights"`
		Seasons []int            `json:"seasons"`
		Bands   []forecast.Range `json:"forecast_bytes"`
	}{"IP octets in an hour", since.UTC(), a.WindowStart, from > 0, m.Weights, m.Config.Seasons, bands})
	if err == nil { // a bound may be infinite
		a.Baseline = string(text)
	}
}
