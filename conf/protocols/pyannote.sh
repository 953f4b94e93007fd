# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data and train_set
# The evaluation of pyannote.audio 1 (pyannote-audio emb validate), then the adaptive s-norm of Coria et al., "A
# comparison of metric learning loss functions for end-to-end speaker verification", 2020, who trained with it. Figures
# that their notebook (reproduce.ipynb) published on the original list of VoxCeleb1, 37,720 trials: EER 3.94 % without
# and 3.56 % with normalisation.
#
# Differences from the notebook: it takes a window every 0.1 s (a step of 0.0333 windows) and repeats those at the ends,
# so that the first counts 16 times in the mean and the last 14 times; validate does neither. Its cohort speakers are
# means over all windows of all their recordings, weighted by length; here each recording has the same weight.

# Windows of 3 s, the crop length of the notebook's model, with a step of a quarter of that as in validate; a shorter
# recording is one window. For a model of the tutorial, trained on crops of 2 s, use --windows 2. The embedding of a
# recording is the mean over its windows.
extract_options=(--windows 3 --window-step 0.25 --window-average mean)

score_options=()                     # the cosine of these means
enrol_options=(--enrol-average mean) # an enrolment is the mean of its recordings

# The cohort scores used are those of the 400 nearest training speakers (the notebook's N), or of all if there are
# fewer. A speaker is the mean of its recordings' embeddings. validate does not normalise: compare with the scores
# before normalisation, or use --norm none.
norm=${norm:-asnorm}
norm_options=(--cohort-utt2spk "$data/$train_set/utt2spk" --cohort-average mean)
[ "$norm" != asnorm ] || norm_options+=(--top-n auto:400)

# validate prints the EER of pyannote.metrics, the notebook that of feerci; neither has a minDCF.
metrics_options=(--definitions pyannote feerci)
