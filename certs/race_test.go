//go:build race

package certs

func init() { raceDetector = true }
