# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data and train_set
# The evaluation of pyannote.audio 1 (pyannote-audio emb validate), then the adaptive s-norm of Coria et al., "A
# comparison of metric learning loss functions for end-to-end speaker verification", 2020, who trained with it. Figures
# that their notebook (reproduce.ipynb) published on the original list of VoxCeleb1, 37,720 trials: EER 3.94 % as the
# scores are, 3.56 % normalised.
#
# What differs from the notebook: it takes a window every 0.1 s (a step of 0.0333 windows) and repeats those at the
# ends, so that the first counts 16 times in the mean and the last 14 times; validate does neither. Its cohort speakers
# are means over all windows of all their recordings, so that long ones count more; here each recording counts once.

# Windows of 3 s, as long as the notebook's model was trained on, every quarter of that as validate does; what is
# shorter is one window. A frame is 10 ms, so that 300 are 48,000 samples of networks that take waveforms and 300 rows
# of features of the others. For a model of the tutorial, trained on 2 s, it is 200. The plain mean of the windows
# stands for a recording.
extract_options=(--windows 3 --window-step 0.25 --window-average mean)

score_options=()                     # the cosine of these means
enrol_options=(--enrol-average mean) # an enrolment is the mean of its recordings

# The 400 training speakers nearest to each side count (the notebook's N), or all of them if there are fewer. A speaker
# is the mean of its recordings as they are. validate has no normalisation: the figure before it, or --norm none.
norm=${norm:-asnorm}
norm_options=(--cohort-utt2spk "$data/$train_set/utt2spk" --cohort-average mean)
[ "$norm" != asnorm ] || norm_options+=(--top-n auto:400)

# validate prints the EER of pyannote.metrics, the notebook that of feerci; neither has a minDCF.
metrics_options=(--definitions pyannote feerci)
