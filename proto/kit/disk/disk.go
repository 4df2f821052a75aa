// Package disk is what stores on disk need of the system: to wait until bytes
// are there, to keep other processes out of a directory, and to know when the
// device is full. Files stay their callers'.
package disk
