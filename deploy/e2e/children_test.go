package e2e

// runChildIfAsked turns this test binary into one of the services that a test
// kills, if its parent asked for that.
func runChildIfAsked() {}
