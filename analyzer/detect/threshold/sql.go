package threshold

import (
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// compose is detect.Compose with the expression of the detectors here.
func compose(file string) string {
	return detect.Compose(strings.NewReplacer(
		// The share of a record's time that lies in [from, to).
		"/*share*/", `if(end > start, greatest(0., least(toFloat64(end), toFloat64({to:UInt32})) - greatest(toFloat64(start), toFloat64({from:UInt32}))) / (toFloat64(end) - toFloat64(start)),
                toFloat64(start >= toDateTime({from:UInt32}, 'UTC')))`,
	).Replace(file))
}
