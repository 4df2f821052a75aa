package retain

import "time"

// Sample is what all tables took at one time.
type Sample struct {
	Time  time.Time
	Bytes int64 // on disk now
	Gone  int64 // dropped by retention until then
}

// Forecast is where this leads.
type Forecast struct {
	Growth float64   // bytes that come in a day, before anything is dropped
	Steady float64   // bytes that all will take when as much goes as comes
	Full   time.Time // when the budget is used up; zero: never, or nobody can tell yet
}

// leastSpan is how long samples must reach back to tell anything.
const leastSpan = 2 * time.Hour

// forecast fits a line through what has come in (least squares). keep is how
// long the bytes that come stay on average. It says nothing of fewer than three
// samples, or of less than leastSpan.
func forecast(samples []Sample, budget int64, keep time.Duration) (f Forecast, ok bool) {
	n := len(samples)
	if n < 3 || samples[n-1].Time.Sub(samples[0].Time) < leastSpan {
		return f, false
	}
	var st, sv, stt, stv float64
	for _, s := range samples {
		t := s.Time.Sub(samples[0].Time).Hours() / 24
		v := float64(s.Bytes + s.Gone)
		st, sv, stt, stv = st+t, sv+v, stt+t*t, stv+t*v
	}
	count := float64(n)
	d := count*stt - st*st
	if d == 0 {
		return f, false
	}
	f.Growth = max((count*stv-st*sv)/d, 0)
	last := samples[n-1]
	f.Steady = max(f.Growth*keep.Hours()/24, 0)
	if f.Growth > 0 && f.Steady > float64(budget) {
		days := max(float64(budget-last.Bytes), 0) / f.Growth
		f.Full = last.Time.Add(time.Duration(min(days, 36500) * 24 * float64(time.Hour)))
	}
	return f, true
}
